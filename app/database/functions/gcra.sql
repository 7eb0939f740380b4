-- How many of `want` transfers a rate limit lets start now, and the theoretical arrival time after them: the rule of
-- app/core/webhook/rate_limit.py, whose table of cases the tests hold this to. tat: after the last transfer, NULL at first.
-- now_at: Unix seconds. wait: seconds until one more may start. A rate or a time that is none counts as there.
CREATE OR REPLACE FUNCTION gcra(
  tat float8, now_at float8, per_second float8, want int, OUT granted int, OUT next_tat float8, OUT wait float8
)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
  burst CONSTANT float8 := 0.1;  -- seconds: BURST_SECONDS
  rounding CONSTANT float8 := 1e-6;
  spacing float8 := 1.0 / CASE WHEN per_second > 0 AND per_second < 'Infinity' THEN per_second ELSE 1.0 END;
  arrival float8 := CASE WHEN tat <= now_at + 60.0 THEN greatest(tat, now_at) ELSE now_at END;  -- MOST_AHEAD_SECONDS
BEGIN
  -- In PostgreSQL's order NaN is greater than any number, so that `tat <= …` leaves it out.
  granted := floor(greatest(0.0, least(want::float8, (now_at + burst + spacing - arrival) / spacing + rounding)))::int;
  next_tat := arrival + granted * spacing;
  wait := CASE WHEN (now_at + burst + spacing - next_tat) / spacing + rounding >= 1 THEN 0
    ELSE next_tat - burst - now_at END;
END
$$;
