-- The payload stands last, so that a scan of the small columns does not read it. Puts and clearings are numbered by one
-- serial; an entry is dead when its scope was cleared at a higher one, and is swept away later. The first serial is
-- random: a file that was made anew must not look like the one before. A scope counts all its rows and, as entries and
-- bytes, those that were not cleared; the state's bytes are of all rows.
create table ai_cache (
    serial integer primary key,
    cache_key text not null unique,
    tenant_id text not null,
    model_used text not null,
    created_at integer not null,
    expires_at integer not null,
    hit_count integer not null default 0,
    last_used_at integer not null,
    bytes integer not null,
    mac blob not null,
    response_data blob not null
);
create index ai_cache_by_scope on ai_cache (tenant_id, model_used);
create index ai_cache_by_expiry on ai_cache (expires_at);
create index ai_cache_by_use on ai_cache (last_used_at);
create index ai_cache_by_hits on ai_cache (hit_count);
create table ai_cache_scopes (
    tenant_id text not null,
    model_used text not null,
    cleared_serial integer not null default 0,
    row_count integer not null,
    entries integer not null,
    bytes integer not null,
    primary key (tenant_id, model_used)
) without rowid;
create index ai_cache_scopes_dead on ai_cache_scopes (row_count) where row_count > entries;
create index ai_cache_scopes_empty on ai_cache_scopes (row_count) where row_count = 0;
create table ai_cache_leases (
    cache_key text primary key,
    lease_id text not null,
    tenant_id text not null,
    model_used text not null,
    expires_at integer not null,
    wanted_at integer
) without rowid;
create index ai_cache_leases_by_expiry on ai_cache_leases (expires_at);
create table ai_cache_state (
    id integer primary key check (id = 1),
    serial integer not null,
    bytes integer not null,
    hits integer not null,
    misses integer not null
);
insert into ai_cache_state (id, serial, bytes, hits, misses) select 1, 1 + abs(random() / 4096), 0, 0, 0;
create trigger ai_cache_added after insert on ai_cache begin
    update ai_cache_state set bytes = bytes + new.bytes;
    insert into ai_cache_scopes (tenant_id, model_used, row_count, entries, bytes)
        values (new.tenant_id, new.model_used, 1, 1, new.bytes)
        on conflict do update set row_count = row_count + 1, entries = entries + 1, bytes = bytes + new.bytes;
end;
create trigger ai_cache_removed after delete on ai_cache begin
    update ai_cache_state set bytes = bytes - old.bytes;
    update ai_cache_scopes set row_count = row_count - 1, entries = entries - (old.serial > cleared_serial),
        bytes = bytes - old.bytes * (old.serial > cleared_serial)
        where tenant_id = old.tenant_id and model_used = old.model_used;
end;
