import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.fixed_sets import rows
from data.fixed_sets.rows import read_rows


@pytest.mark.parametrize("name", ["set.jsonl", "set.parquet"])
def test_a_set_that_would_fill_the_memory_is_refused_however_small_its_file(tmp_path, monkeypatch, name):
    path, table = tmp_path / name, {"text": ["x" * 1_000] * 300}
    if path.suffix == ".parquet":
        pq.write_table(pa.table(table), path)
        assert path.stat().st_size < 10_000
    else:
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in table["text"]))
    assert len(read_rows(str(path), ["text"])["train"]) == 300
    monkeypatch.setattr(rows, "MAX_BYTES", 200_000)
    with pytest.raises(ValueError, match=f"{name} has more than 200,000 bytes in the columns read; take a part"):
        read_rows(str(path), ["text"])


def test_columns_that_are_not_read_do_not_count(tmp_path, monkeypatch):
    pq.write_table(pa.table({"text": ["x"] * 9, "other": ["y" * 1_000] * 9}), tmp_path / "set.parquet")
    monkeypatch.setattr(rows, "MAX_BYTES", 2_000)
    assert len(read_rows(str(tmp_path / "set.parquet"), ["text"])["train"]) == 9
