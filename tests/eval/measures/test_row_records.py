"""The records of rows and the tables that store them name the same fields, of the same types."""

from types import NoneType
from typing import Any, NotRequired, get_args, get_origin, get_type_hints

import pyarrow as pa
import pytest

from eval.measures.lexical import PHRASES
from eval.measures.rows import SampleRow, WordedCounts
from eval.report.load import EXAMPLE_COLUMNS, SAMPLE_COLUMNS, ShownRow
from eval.sampling import samples
from train.model.judged_row import JudgedRow
from train.rewards import rollout_log
from train.rewards.rollout_log import RolloutRow

ARROW = {bool: pa.types.is_boolean, int: pa.types.is_integer, float: pa.types.is_floating, str: pa.types.is_string}


def holds(arrow: pa.DataType, hint: Any) -> bool:
    if get_origin(hint) is NotRequired:
        return holds(arrow, get_args(hint)[0])
    kind, *_ = [one for one in get_args(hint) or (hint,) if one is not NoneType]
    if get_origin(hint) is list:
        return pa.types.is_list(arrow) and holds(arrow.value_type, kind)
    return ARROW[kind](arrow)


@pytest.mark.parametrize(
    "schema, record, not_stored",
    [
        (rollout_log.COLUMNS, RolloutRow, {"answer_tokens", "score"}),
        (samples.COLUMNS, SampleRow, {"score"}),
    ],
    ids=["rollouts.parquet", "samples-N.parquet"],
)
def test_a_table_stores_the_fields_of_its_record_in_their_types(schema, record, not_stored):
    hints = get_type_hints(record)
    assert set(schema.names) == set(hints) - not_stored
    assert [column.name for column in schema if not holds(column.type, hints[column.name])] == []


def test_each_behaviour_with_phrases_has_a_count_in_the_row():
    assert [f"says_{name}" for name in PHRASES] == list(WordedCounts.__annotations__)


def test_the_page_reads_columns_that_are_stored():
    assert set(EXAMPLE_COLUMNS) <= set(rollout_log.COLUMNS.names) and set(SAMPLE_COLUMNS) <= set(samples.COLUMNS.names)
    assert set(EXAMPLE_COLUMNS) | set(SAMPLE_COLUMNS) == set(get_type_hints(ShownRow))
    assert set(JudgedRow.__annotations__) <= set(get_type_hints(SampleRow))
