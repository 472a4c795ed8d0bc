"""polars and pyarrow with their thread pools: each clone computes what the master does."""
# zoo: full

import polars
import pyarrow
import pyarrow.compute
import pyarrow.parquet
from harness import family

frame = polars.DataFrame({"group": [n % 7 for n in range(50_000)], "n": range(50_000)})
pyarrow.parquet.write_table(frame.to_arrow(), "frame.parquet")


def results() -> list[object]:
    lazy = polars.scan_parquet("frame.parquet").group_by("group").agg(polars.col("n").sum()).sort("group").collect()
    table = pyarrow.parquet.read_table("frame.parquet", use_threads=True)
    return [lazy["n"].to_list(), pyarrow.compute.sum(table["n"]).as_py(), frame.sort("n", descending=True)["n"][0]]


expected = results()
master, clones = family(lambda vmid: results())
assert [master, *clones] == [expected] * 4
