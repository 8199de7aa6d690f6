-- Views over both tables, the same for SQLite and PostgreSQL. `python views.py` runs this file after a load, any number of times.
-- A transaction that came from the file and from the topic has two rows, and each has a prediction of its own: _pipeline says which belong together.

CREATE INDEX IF NOT EXISTS transactions_by_id ON transactions (id);
CREATE INDEX IF NOT EXISTS predictions_by_transaction ON predictions (transaction_id);

-- Each transaction that has a prediction, with it.
DROP VIEW IF EXISTS transactions_with_prediction;
CREATE VIEW transactions_with_prediction AS
SELECT t.id, t.description, t.amount, t.timestamp, t.merchant, t.operation_type, t.side, p.category, p.model_version,
       p._delivered_at AS predicted_at, t.processing_type, t.run_id, t._source AS source, t._line AS line
FROM transactions t
JOIN predictions p ON p.transaction_id = t.id AND p._pipeline = t._pipeline;

-- Each transaction without a prediction. `reason` says why the service refused it; it is null while the transaction waits.
DROP VIEW IF EXISTS transactions_without_prediction;
CREATE VIEW transactions_without_prediction AS
SELECT t.id, t.description, t.amount, t.timestamp, t.merchant, t.operation_type, t.side, t.processing_type, t.run_id,
       t._source AS source, t._line AS line, f.status, f.reason
FROM transactions t
LEFT JOIN predictions p ON p.transaction_id = t.id AND p._pipeline = t._pipeline
LEFT JOIN event_processor_failed f
  ON f.pipeline = t._pipeline AND f.sink = 'predictions' AND f.input = 'events' AND f.sequence = t._sequence
WHERE p.transaction_id IS NULL;

-- Figures of each category, by the way in which the transactions came.
DROP VIEW IF EXISTS figures_by_category;
CREATE VIEW figures_by_category AS
SELECT p.category,
       t.processing_type,
       COUNT(*) AS transactions,
       ROUND(SUM(CAST(t.amount AS NUMERIC)), 2) AS amount_total,
       ROUND(AVG(CAST(t.amount AS NUMERIC)), 2) AS amount_mean,
       SUM(CASE WHEN t.side = 'debit' THEN 1 ELSE 0 END) AS debits,
       SUM(CASE WHEN t.side = 'credit' THEN 1 ELSE 0 END) AS credits,
       MIN(t.timestamp) AS first_timestamp,
       MAX(t.timestamp) AS last_timestamp
FROM transactions t
JOIN predictions p ON p.transaction_id = t.id AND p._pipeline = t._pipeline
GROUP BY p.category, t.processing_type;
