"""Functions by name: those that only compute, and those with an effect, a wait, a file or a database behind them."""

# Functions that sqlglot has no class for and that only compute.
HARMLESS = frozenset(
    """
    abs acos acosd acosh adddate addtime aes_decrypt age any_value approx_count_distinct approx_distinct array
    array_agg array_append array_cat array_concat array_dims array_fill array_length array_lower array_ndims
    array_position array_prepend array_remove array_replace array_reverse array_to_string array_upper ascii asin
    asind asinh atan atan2 atand atanh bin binary_checksum bit_and bit_count bit_length bit_or bit_xor bitand
    bool_and bool_or btrim cardinality cast cbrt ceil ceiling char char_length character_length charindex checksum
    checksum_agg choose chr clock_timestamp coalesce coercibility collation compress concat concat_agg concat_ws
    conv convert_from convert_to convert_tz corr cos cosd cosh cot count count_big countif covar_pop covar_samp
    crc32 cume_dist current_date current_time current_timestamp datalength date date_add date_bin date_diff
    date_format date_from_parts date_from_unix_date date_part date_spine date_sub date_trunc dateadd datediff
    datefromparts datename datepart daterange datetime datetime2fromparts datetime_add datetime_diff datetime_sub
    datetime_trunc datetimefromparts datetrunc day dayname dayofmonth dayofweek dayofyear decode degrees dense_rank
    difference div elt encode enum_first enum_last enum_range eomonth epoch epoch_ms erf every exp export_set
    extract factorial farm_fingerprint field find_in_set first_value float64 floor format format_date
    format_datetime format_timestamp format_type from_base64 from_days from_unixtime fromparts fulltext gcd
    gen_random_uuid generate_array generate_date_array generate_series generate_subscripts generate_timestamp_array
    getdate getutcdate glob greatest group_concat grouping hashtext hex host hour ieee_divide iff ifnull iif
    inet6_aton inet6_ntoa inet_aton inet_ntoa initcap instr int4range int64 int8range is_ipv4 is_ipv6 is_uuid isdate
    isempty isfinite isjson isnull isnumeric isodow json_agg json_array json_array_append json_array_elements
    json_array_elements_text json_array_insert json_array_length json_arrayagg json_build_array json_build_object
    json_contains json_contains_path json_depth json_each json_each_text json_extract json_extract_path_text
    json_group_array json_group_object json_insert json_keys json_length json_merge_patch json_merge_preserve
    json_modify json_object json_object_agg json_object_keys json_objectagg json_overlaps json_patch
    json_populate_record json_populate_recordset json_pretty json_query json_quote json_remove json_replace
    json_search json_set json_strip_nulls json_to_record json_to_recordset json_tree json_type json_typeof
    json_unquote json_valid json_value jsonb_agg jsonb_array_elements jsonb_array_elements_text jsonb_array_length
    jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path_text jsonb_insert
    jsonb_object jsonb_object_agg jsonb_object_keys jsonb_path_exists jsonb_path_match jsonb_path_query
    jsonb_path_query_array jsonb_path_query_first jsonb_populate_record jsonb_populate_recordset jsonb_pretty
    jsonb_set jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof julianday justify_days justify_hours
    justify_interval lag last_day last_value lcase lcm lead least left len length levenshtein likelihood likely
    list_agg list_aggregate list_contains list_distinct list_extract list_sort list_value listagg ln localtime
    localtimestamp locate log log10 log1p log2 lower lower_inc lower_inf lpad ltrim make_date make_interval make_set
    make_time make_timestamp make_timestamp_ms make_timestamptz makedate map_keys map_values masklen max max_by md5
    median metaphone microsecond mid min min_by minute mod mode month monthname multirange name_const nchar netmask
    network newid normalize now nth_value ntile nullif num_nonnulls num_nulls numrange nvl oct octet_length ord
    overlay parse_date parse_datetime parse_ident parse_timestamp parsename patindex percent_rank percentile_cont
    percentile_disc period_add period_diff pg_typeof phraseto_tsquery pi plainto_tsquery point popcount position pow
    power printf quarter quote quote_ident quote_literal quote_nullable quotename radians random randomblob
    range_agg range_merge rank regexp_contains regexp_count regexp_extract regexp_instr regexp_like regexp_match
    regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr regr_avgx regr_avgy
    regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy repeat replace replicate reverse right
    round row row_number row_to_json rpad rtrim safe_add safe_cast safe_divide safe_multiply safe_negate
    safe_subtract scale sec_to_time second set_masklen setweight sha1 sha2 sha256 show_trgm sign similarity sin sind
    sinh soundex space split_part sqrt square st_area st_asgeojson st_astext st_buffer st_centroid st_contains
    st_distance st_distance_sphere st_dwithin st_geomfromtext st_intersects st_length st_makepoint st_point
    st_setsrid st_transform st_within st_x st_y starts_with statement_timestamp std stddev stddev_pop stddev_samp
    stdev stdevp str str_to_date strcmp strftime strict_word_similarity string_agg string_escape string_split
    string_to_array string_to_table strpos struct_extract struct_pack stuff subdate substr substring substring_index
    subtime sum sumif switchoffset sysdate sysdatetime sysutcdatetime tan tand tanh text time time_bucket
    time_format time_to_sec timediff timeofday timestamp timestamp_add timestamp_diff timestamp_sub timestamp_trunc
    timestampadd timestampdiff timezone to_ascii to_base64 to_char to_date to_days to_hex to_json to_jsonb to_number
    to_seconds to_timestamp to_tsquery to_tsvector todatetimeoffset total transaction_timestamp translate trim
    trim_array trim_scale trunc truncate try_cast try_convert try_parse ts_headline ts_rank ts_rank_cd tsrange
    tstzrange typeof ucase unaccent uncompress unhex unicode unistr unix_date unix_millis unix_seconds
    unix_timestamp unixepoch unlikely unnest upper upper_inc upper_inf utc_date utc_time utc_timestamp uuid
    uuid_generate_v4 var var_pop var_samp variance varp version websearch_to_tsquery week weekday weekofyear
    weight_string width_bucket word_similarity xml_is_well_formed xmlagg xmlconcat xmlelement xmlforest xor xpath
    xpath_exists year yearweek zeroblob
    """.split()  # noqa: SIM905  # a list of names reads better as text
)
# Never let through, also where sqlglot knows them.
DANGEROUS = frozenset(
    """
    ai_generate asynchronous_connection_failover_add_source benchmark connectby crosstab current_setting currval
    cursor_to_xml cursor_to_xmlschema database_to_xml database_to_xmlschema dblink dblink_connect dblink_connect_u
    dblink_exec dblink_fetch dblink_get_connections dblink_get_result dblink_open dblink_send_query dbms_lock
    delta_scan duckdb_secrets duckdb_settings edit eval exec executable external_query file fn_get_audit_file
    fn_xe_file_target_read_file from_file fts3_tokenizer get_lock getenv hdfs http_get iceberg_scan input
    is_free_lock is_used_lock java_method jdbc last_insert_id lastval lo_creat lo_create lo_export lo_from_bytea
    lo_get lo_import lo_open lo_put lo_truncate lo_unlink load_extension load_file loread lowrite master_gtid_wait
    master_pos_wait ml_predict mongodb mysql mysql_query mysql_scan nextval odbc opendatasource openquery openrowset
    parquet_metadata parquet_scan parquet_schema pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock
    pg_advisory_unlock_all pg_advisory_xact_lock pg_backup_start pg_cancel_backend
    pg_create_logical_replication_slot pg_create_physical_replication_slot pg_create_restore_point
    pg_drop_replication_slot pg_export_snapshot pg_file_read pg_file_rename pg_file_unlink pg_file_write
    pg_logical_emit_message pg_logical_slot_get_changes pg_ls_archive_statusdir pg_ls_dir pg_ls_logdir pg_ls_tmpdir
    pg_ls_waldir pg_notify pg_promote pg_read_binary_file pg_read_file pg_reload_conf pg_replication_slot_advance
    pg_rotate_logfile pg_sleep pg_sleep_for pg_sleep_until pg_start_backup pg_stat_file pg_stat_reset pg_stop_backup
    pg_switch_wal pg_terminate_backend pg_try_advisory_lock pg_try_advisory_xact_lock postgres_query postgres_scan
    postgresql query query_table query_to_json query_to_xml query_to_xml_and_xmlschema query_to_xmlschema read_blob
    read_csv read_csv_auto read_duckdb read_json read_json_auto read_json_objects read_ndjson read_ndjson_auto
    read_parquet read_text read_xlsx readfile redis reflect release_all_locks release_lock remote remotesecure s3
    schema_to_xml schema_to_xmlschema set_config setval shell sleep sniff_csv source_pos_wait sp_executesql
    spider_bg_direct_sql spider_copy_tables spider_direct_sql sqlite_attach sqlite_compileoption_get sqlite_scan
    st_read sys_eval sys_exec system table_to_xml table_to_xml_and_xmlschema to_file ts_stat url url_get utl_file
    utl_http wait_for_executed_gtid_set writefile xp_cmdshell xp_dirtree xp_regread xslt_process
    """.split()  # noqa: SIM905  # a list of names reads better as text
)
# What may stand in FROM as a table: it makes rows of its arguments alone.
ROW_MAKERS = frozenset(
    """
    explode exploding_generate_series flatten posexplode generate_series json_array_elements
    json_array_elements_text json_each json_each_text json_table
    json_tree jsonb_array_elements jsonb_array_elements_text jsonb_each jsonb_each_text range regexp_split_to_table
    string_split unnest generate_date_array generate_array explode_outer
    """.split()  # noqa: SIM905  # a list of names reads better as text
)
