"""Ready views of the database, for whoever reads it with SQL: `eetui sql`, Datasette, DuckDB, sqlite3.

They need nothing of SQLite beyond `json_extract` and `json_each`: an SQLite older than what a view is written for can't
even open the database. DuckDB reads a view's SQL and writes it anew, wrong where it has `NOT IN (SELECT …)`, `count(*)`
or a join without ON. Deleted runs, and what a resumed run's new start voids, are left out.
"""


def _fields(*names: str) -> str:
    """Return the columns of fields of an event."""
    return ", ".join(f"json_extract(data, '$.{name}') AS {name}" for name in names)


_START = """
    start AS (SELECT run_id, max(seq) AS seq FROM events WHERE type = 'RunStarted' GROUP BY run_id)"""
_KEPT = """
    kept AS (
        SELECT events.run_id, events.seq, time, type, data
        FROM events JOIN start ON start.run_id = events.run_id AND events.seq >= start.seq
        WHERE json_valid(data) AND NOT EXISTS (SELECT 1 FROM bin WHERE bin.run_id = events.run_id))"""
_STAGE = f"""
    begun AS (
        SELECT
            run_id, max(seq) AS seq, {_fields("stage", "kind", "block", "epochs", "tokens", "reused")}
        FROM kept WHERE type = 'StageStarted' GROUP BY run_id, json_extract(data, '$.stage'))"""


def _measured(way: str, figure: str) -> str:
    return (
        f"(SELECT {figure} FROM results WHERE run_id = runs.id AND stage = 'evaluation' AND results.name = '{way}' "
        "AND split = 'eval' AND token_set = 'all')"
    )


VIEWS = {
    "run_results": f"""
SELECT
    id AS run_id, name, method, seed, preset, status, experiment,
    (SELECT group_concat(tag, ' ') FROM tags WHERE run_id = runs.id) AS tags,
    datetime(created, 'unixepoch') AS created, seconds, final_ppl,
    {_measured("early exit", "loss")} AS final_loss, accuracy, bits_per_byte,
    shallow_ratio, layer_savings, flop_savings, time_savings,
    {_measured("all blocks", "loss")} AS all_blocks_loss, {_measured("all blocks", "accuracy")} AS all_blocks_accuracy,
    {_measured("block 0 alone", "loss")} AS block0_alone_loss, {_measured("oracle", "loss")} AS oracle_loss, error
FROM runs WHERE NOT EXISTS (SELECT 1 FROM bin WHERE bin.run_id = runs.id)""",
    "run_config": """
SELECT
    runs.id AS run_id, runs.name, part.key || coalesce('.' || leaf.key, '') AS key,
    CASE WHEN lower(part.type) = 'object' THEN leaf.value ELSE part.value END AS value
FROM runs, json_each(runs.config) AS part
LEFT JOIN json_each(CASE lower(part.type) WHEN 'object' THEN part.value ELSE '{}' END) AS leaf ON 1 = 1
WHERE NOT EXISTS (SELECT 1 FROM bin WHERE bin.run_id = runs.id)""",
    "stages": f"""
WITH {_START}, {_KEPT}, {_STAGE},
    epochs AS (
        SELECT run_id, {_fields("stage")}, count(seq) AS epochs, min(json_extract(data, '$.val_loss')) AS val_loss
        FROM kept WHERE type = 'Epoch' GROUP BY 1, 2),
    ended AS (SELECT run_id, {_fields("stage", "seconds")} FROM kept WHERE type = 'StageEnded'),
    thresholds AS (
        SELECT run_id, {_fields("stage", "threshold", "tokens", "hard_tokens")}
        FROM kept WHERE type = 'Threshold')
SELECT
    begun.run_id, runs.name, runs.method, runs.seed, begun.stage, begun.kind, begun.block, begun.reused, begun.tokens,
    begun.epochs AS most_epochs, epochs.epochs, epochs.val_loss AS best_val_loss, thresholds.threshold,
    thresholds.hard_tokens * 1.0 / thresholds.tokens AS hard_share, ended.seconds
FROM begun JOIN runs ON runs.id = begun.run_id
LEFT JOIN epochs ON epochs.run_id = begun.run_id AND epochs.stage = begun.stage
LEFT JOIN ended ON ended.run_id = begun.run_id AND ended.stage = begun.stage
LEFT JOIN thresholds ON thresholds.run_id = begun.run_id AND thresholds.stage = begun.stage
ORDER BY begun.run_id, begun.seq""",
    "epochs": f"""
WITH {_START}, {_KEPT}, {_STAGE}
SELECT
    kept.run_id, runs.name, runs.method, runs.seed, begun.stage, begun.kind, begun.block,
    {_fields("epoch", "loss", "val_loss", "exit_loss", "avg_label", "improved", "seconds")}
FROM kept JOIN runs ON runs.id = kept.run_id
JOIN begun ON begun.run_id = kept.run_id AND begun.stage = json_extract(data, '$.stage')
WHERE kept.type = 'Epoch' ORDER BY kept.run_id, kept.seq""",
    "steps": f"""
WITH {_START}, {_KEPT}
SELECT
    kept.run_id, runs.name, {_fields("stage", "epoch")}, one.value AS step,
    json_extract(data, '$.loss[' || one.key || ']') AS loss,
    json_extract(data, '$.tokens[' || one.key || ']') AS tokens,
    json_extract(data, '$.seconds[' || one.key || ']') AS seconds
FROM kept JOIN runs ON runs.id = kept.run_id, json_each(kept.data, '$.step') AS one
WHERE kept.type = 'Steps' ORDER BY kept.run_id, kept.seq, one.key""",
    "measurements": """
SELECT
    results.run_id, runs.name, runs.method, runs.seed, stage, results.name AS way, split, token_set, tokens, loss,
    results.accuracy, results.shallow_ratio, results.layer_savings
FROM results JOIN runs ON runs.id = results.run_id 
WHERE NOT EXISTS (SELECT 1 FROM bin WHERE bin.run_id = results.run_id)""",
    "savings": f"""
WITH {_START}, {_KEPT}
SELECT
    kept.run_id, runs.name, runs.method, runs.seed, runs.layer_savings AS layers,
    {_fields("flops", "break_even", "time", "time_low", "time_high")}
FROM kept JOIN runs ON runs.id = kept.run_id WHERE kept.type = 'Savings'""",
}
"""Query of each view, by its name."""
MEANINGS = {
    "run_results": "one row a run: what it is, final figures of early exit, and the losses of other ways",
    "run_config": "one row a config value of a run, by its dotted name",
    "stages": "one row a stage of a run: epochs, best loss, threshold, time",
    "epochs": "one row an epoch of a stage",
    "steps": "one row a training step",
    "measurements": "one row a measured way through the model, with split and token set",
    "savings": "one row a run: shares of layers, FLOPs and time that early exit saves",
}
"""What a row of each view is."""
