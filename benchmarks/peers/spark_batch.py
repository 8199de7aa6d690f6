"""Spark in one process with two cores, as a batch. `python -m benchmarks.peers.spark_batch FILE`.

Two partitions behind the shuffle, one a core, rather than the default of 200. Its own `work_s` leaves out the start of the
JVM and the session, the slope between two sizes does too. The JVM is waited for, so that its CPU time is in what the process cost.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time

from pyspark.sql import Observation, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - as Spark's users know it

from benchmarks.peers.result import arguments, print_result

SCHEMA = "id string, category string, value double"
EXIT_LIMIT_S = 60.0


def session(folder: str) -> SparkSession:
    """A session that talks to nobody but itself and writes nowhere but in the folder."""
    settings = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "4g",
        "spark.local.dir": folder,
        "spark.log.level": "ERROR",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": os.path.join(folder, "warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = SparkSession.builder.master("local[2]").appName("peer")
    for key, value in settings.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def stop(spark: SparkSession) -> None:
    """Ends the session and its JVM, and waits for that."""
    gateway = spark.sparkContext._gateway  # noqa: SLF001 - nothing public waits for the JVM
    spark.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()  # the sign for the JVM to end
    gateway.proc.wait(EXIT_LIMIT_S)


def main() -> None:
    """Reads one file."""
    options = arguments(__doc__).parse_args()
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["PYSPARK_PYTHON"] = sys.executable
    with tempfile.TemporaryDirectory() as folder:
        spark = session(folder)
        start_s = time.perf_counter()
        seen = Observation()
        events = spark.read.schema(SCHEMA).json(os.path.abspath(options.file)).observe(seen, F.count(F.lit(1)).alias("records"))
        totals = events.dropDuplicates(["id"]).groupBy("category").agg(F.count("*"), F.sum("value"))
        rows = [(row[0], row[1], row[2]) for row in totals.collect()]
        work_s = time.perf_counter() - start_s
        records = seen.get["records"]
        stop(spark)
    print_result(records, rows, work_s=work_s)


if __name__ == "__main__":
    main()
