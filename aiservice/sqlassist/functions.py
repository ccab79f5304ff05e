"""Functions by name: those that only compute, and those with an effect, a wait, a file or a database behind them."""

# Functions that sqlglot has no class for and that only compute.
HARMLESS = frozenset(
    """
    abs acos age array_agg array_length array_position array_to_string ascii asin atan atan2 bit_and bit_length
    bit_or bool_and bool_or btrim cardinality ceil ceiling char char_length character_length charindex chr coalesce
    concat concat_ws corr cos cot count count_big covar_pop covar_samp crc32 cume_dist current_date current_time
    current_timestamp date date_add date_bin date_diff date_format date_from_unix_date date_part date_sub date_trunc
    dateadd datediff datefromparts datename datepart datetime datetime2fromparts datetime_add datetime_diff
    datetime_sub datetime_trunc datetimefromparts datetrunc day dayname dayofmonth dayofweek dayofyear degrees
    dense_rank eomonth every exp extract field find_in_set first_value float64 floor format format_date
    format_datetime format_timestamp from_days from_unixtime fromparts gcd gen_random_uuid generate_series getdate
    getutcdate glob greatest group_concat hex hour iff ifnull iif initcap instr int64 isdate isfinite isjson isnull
    isnumeric json_agg json_array json_array_elements json_array_length json_build_object json_each json_each_text
    json_extract json_extract_path_text json_object json_object_agg json_object_keys json_query json_type
    json_unquote json_valid json_value jsonb_agg jsonb_array_elements jsonb_array_elements_text jsonb_array_length
    jsonb_each jsonb_each_text jsonb_extract_path_text jsonb_object_keys jsonb_typeof julianday justify_days
    justify_interval lag last_day last_value lcase lcm lead least left len length likelihood likely ln localtime
    localtimestamp locate log log10 log2 lower lpad ltrim make_date make_interval make_time make_timestamp makedate
    max md5 median microsecond mid min minute mod mode month monthname newid nth_value ntile nullif num_nonnulls
    num_nulls nvl octet_length overlay parse_date parse_datetime parse_timestamp parsename patindex percent_rank
    percentile_cont percentile_disc period_diff pi position pow power printf quarter quotename radians random rank
    regexp_contains regexp_count regexp_extract regexp_instr regexp_like regexp_match regexp_matches regexp_replace
    regexp_split_to_array regexp_split_to_table regexp_substr regr_slope repeat replace replicate reverse right
    round row_number row_to_json rpad rtrim safe_cast safe_divide sec_to_time second sha1 sha2 sha256 sign sin
    soundex space split_part sqrt square stddev stddev_pop stddev_samp str str_to_date strcmp strftime string_agg
    string_to_array strpos stuff substr substring substring_index sum switchoffset sysdate sysdatetime
    sysutcdatetime tan time time_format time_to_sec timediff timestamp timestamp_add timestamp_diff timestamp_sub
    timestamp_trunc timestampadd timestampdiff to_char to_date to_days to_hex to_json to_jsonb to_number
    to_timestamp todatetimeoffset total translate trim trunc truncate try_cast try_convert typeof ucase unhex
    unicode unistr unix_date unix_millis unix_seconds unix_timestamp unixepoch unlikely unnest upper utc_date
    utc_time utc_timestamp uuid uuid_generate_v4 var_pop var_samp variance week weekday weekofyear width_bucket xor
    year yearweek zeroblob
    """.split()  # noqa: SIM905  # a list of names reads better as text
)
# Never let through, also where sqlglot knows them.
DANGEROUS = frozenset(
    """
    ai_generate benchmark current_setting currval cursor_to_xml dblink dblink_connect dblink_exec duckdb_settings
    edit external_query fts3_tokenizer get_lock getenv glob_files http_get httpfs is_free_lock lastval lo_create
    lo_export lo_get lo_import lo_put lo_unlink load_extension load_file master_pos_wait ml_predict nextval
    opendatasource openquery openrowset parquet_scan pg_advisory_lock pg_cancel_backend pg_ls_dir pg_notify
    pg_read_binary_file pg_read_file pg_reload_conf pg_sleep pg_sleep_for pg_sleep_until pg_stat_file
    pg_terminate_backend pragma_table_info query_to_json query_to_xml read_blob read_csv read_csv_auto read_json
    read_json_auto read_parquet read_text readfile release_lock set_config setval sleep sqlite_compileoption_get
    sys_eval sys_exec table_to_xml url_get version_tokens_lock_exclusive writefile xp_cmdshell
    """.split()  # noqa: SIM905  # a list of names reads better as text
)
