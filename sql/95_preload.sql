-- Said once, when the extension is created: without the preload nothing runs in the background.
DO $$
BEGIN
    IF NOT automate.is_preloaded() THEN
        RAISE WARNING 'pg_automate is not in shared_preload_libraries: definitions can be made, but nothing runs'
            USING HINT = 'Add pg_automate to shared_preload_libraries in postgresql.conf and restart the server.';
    END IF;
END
$$;
