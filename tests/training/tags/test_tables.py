from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamer.errors import StreamerError
from streamer.training.tags.tables import SUFFIXES, Row, Skipped, read_table

FAST = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)


def rows_of(path: Path, text: str) -> list[Row | Skipped]:
    path.write_text(text, encoding="utf-8")
    return list(read_table(path))


def test_an_esc50_table(tmp_path: Path) -> None:
    text = "filename,fold,target,category,esc10,src_file,take\n1-100032-A.wav,1,0,dog,True,100032,A\n"
    assert rows_of(tmp_path / "esc50.csv", text) == [Row("esc50.csv, row 2", "1-100032-A.wav", "dog", 1)]


def test_an_urbansound_table(tmp_path: Path) -> None:
    text = "slice_file_name,fsID,start,end,salience,fold,classID,class\n1-3-0-0.wav,1,0,0.3,1,5,3,dog_bark\n"
    (row,) = rows_of(tmp_path / "UrbanSound8K.csv", text)
    assert isinstance(row, Row)
    assert (row.path, row.labels, row.fold) == ("1-3-0-0.wav", "dog_bark", 5)


def test_an_fsd50k_table_gives_ids(tmp_path: Path) -> None:
    text = 'fname,labels,mids,split\n64760,"Electric_guitar,Guitar","/m/02sgy,/m/0342h",train\n'
    (row,) = rows_of(tmp_path / "dev.csv", text)
    assert isinstance(row, Row)
    assert (row.path, row.labels, row.split) == ("64760", "/m/02sgy,/m/0342h", "train")


def test_audiosets_own_segments(tmp_path: Path) -> None:
    text = (
        "# Segments csv created Sun Mar  5 10:54:31 2017\n"
        "# num_ytids=22160, num_segs=22160\n"
        "# YTID, start_seconds, end_seconds, positive_labels\n"
        '--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"\n'
    )
    (row,) = rows_of(tmp_path / "eval_segments.csv", text)
    assert isinstance(row, Row)
    assert (row.path, row.labels) == ("--PJHxphWEs", "/m/09x0r,/t/dd00088")


def test_the_json_of_ast_and_whisper_at(tmp_path: Path) -> None:
    text = json.dumps({"data": [{"wav": "/data/x.flac", "labels": "/m/05zppz,/m/09x0r"}]})
    (row,) = rows_of(tmp_path / "train.json", text)
    assert isinstance(row, Row)
    assert (row.path, row.labels) == ("/data/x.flac", "/m/05zppz,/m/09x0r")


def test_a_manifest_with_a_bad_line(tmp_path: Path) -> None:
    lines = ['{"path": "a.wav", "label": "dog", "fold": 2, "licence": "CC0"}', "{broken", '["no object"]', ""]
    row, broken, odd = rows_of(tmp_path / "manifest.jsonl", "\n".join(lines))
    assert row == Row("manifest.jsonl, line 1", "a.wav", "dog", 2, licence="CC0")
    assert isinstance(broken, Skipped)
    assert "line 2" in broken.where
    assert isinstance(odd, Skipped)


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_one_object_is_a_table_of_one_row(tmp_path: Path, suffix: str) -> None:
    (row,) = rows_of(tmp_path / f"one{suffix}", '{"path": "a.wav", "labels": ["Dog", "Bark"]}\n')
    assert isinstance(row, Row)
    assert row.labels == ("Dog", "Bark")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"path": "a.wav", "fold": "x"}, "expected a whole number as the fold"),
        ({"path": "a.wav", "fold": -3}, "expected a fold from 0 to 999"),
        ({"path": "a.wav", "fold": 1e400}, "expected a whole number as the fold"),
        ({"path": "", "label": "dog"}, "names no recording"),
        ({"path": "a.wav", "labels": [1, 2]}, "expected names of labels"),
        ({"path": "a.wav", "labels": {"dog": 1}}, "expected names of labels"),
    ],
)
def test_a_bad_row_is_told_and_left_out(tmp_path: Path, row: dict[str, object], why: str) -> None:
    good = {"path": "b.wav", "label": "dog"}
    found = rows_of(tmp_path / "x.json", json.dumps([good, row, good]))
    assert [isinstance(one, Row) for one in found] == [True, False, True]
    assert isinstance(found[1], Skipped)
    assert why in found[1].why
    assert "entry 2" in found[1].where


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.csv", "", "found an empty file"),
        ("x.csv", "colour,size\nred,3\n", r"expected a column for the recording.*found colour, size"),
        ("x.json", "{", "expected JSON"),
        ("x.json", "3", "expected a list of recordings"),
        ("x.json", '[{"colour": 1}]', "expected a column for the recording"),
        ("x.jsonl", "a\nb", "one JSON object a line"),
    ],
)
def test_what_is_no_table_is_an_error(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(StreamerError, match=message):
        rows_of(tmp_path / name, text)


@FAST
@given(st.sampled_from(SUFFIXES), st.binary(max_size=300))
def test_any_bytes_are_rows_or_an_error_in_a_sentence(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"any{suffix}"
    path.write_bytes(content)
    try:
        found = list(read_table(path))
    except StreamerError:
        return
    assert all(isinstance(one, Row | Skipped) for one in found)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@FAST
@given(st.lists(st.fixed_dictionaries({"path": JSON}, optional={"labels": JSON, "fold": JSON, "text": JSON})))
def test_any_json_under_the_right_names_is_a_row_or_skipped(tmp_path: Path, rows: list[object]) -> None:
    path = tmp_path / "any.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    try:
        found = list(read_table(path))
    except StreamerError:
        assert not rows
    else:
        assert len(found) == len(rows)


CELL = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)


@FAST
@given(st.lists(st.tuples(CELL.filter(str.strip), CELL), min_size=1, max_size=6))
def test_a_table_that_csv_wrote_is_read_row_for_row(tmp_path: Path, cells: list[tuple[str, str]]) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("path", "label"), *cells])
    found = rows_of(tmp_path / "any.csv", text.getvalue())
    assert [(r.path, r.labels or "") for r in found if isinstance(r, Row)] == [
        (path.strip(), label) for path, label in cells
    ]
