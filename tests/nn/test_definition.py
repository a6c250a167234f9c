import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.errors import CheckpointError
from streamer.nn.definition import (
    ContextInfo,
    Dims,
    EncoderInfo,
    HeadInfo,
    ModelInfo,
    TagsInfo,
    read_head_info,
    read_info,
    to_toml,
    write_definition,
)
from tests.nn.reference import TINY

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    TEXT,
    st.dictionaries(TEXT, st.floats(-1e9, 1e9), max_size=3),
    st.lists(st.tuples(*[st.integers(0, 3)] * 2)),
)
def test_what_is_written_is_read_again(tmp_path_factory, text, scores, heads):
    info = ModelInfo(
        name=text,
        description=text,
        dims=Dims(**TINY),
        alignment_heads=tuple(heads),
        context=ContextInfo(short=True, margin=0.8, encoder="sha256:00"),
        tags=TagsInfo(width=96, thresholds={text: 0.25, "Dog, wild": 0.5}),
        scores=scores,
    )
    folder = tmp_path_factory.mktemp("model")
    write_definition(folder / "model.toml", info)
    assert read_info(folder) == info
    head = HeadInfo(
        name=text,
        data=text,
        encoder=EncoderInfo(name=text, n_layer=2, n_state=8, fingerprint=text),
        tags=info.tags,
        scores=scores,
    )
    write_definition(folder / "head.toml", head)
    assert read_head_info(folder) == head
    assert sorted(path.name for path in folder.iterdir()) == ["head.toml", "model.toml"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sampel_rate = 16000", "sampel_rate: Extra inputs"),
        ("sample_rate = 8000", "sample_rate"),
        ("alignment_heads = [[9, 0]]", r"alignment head \(9, 0\) is not among"),
        ("name = 3 4", "cannot read the model definition"),
    ],
)
def test_mistakes_name_file_and_key(tmp_path, change, message):
    good = to_toml(ModelInfo(name="x", dims=Dims(**TINY)))
    lines = [line for line in good.splitlines() if line.split(" = ")[0] != change.split(" = ", maxsplit=1)[0]]
    (tmp_path / "model.toml").write_text("\n".join([change, *lines]))
    with pytest.raises(CheckpointError, match=message) as caught:
        read_info(tmp_path)
    assert "model.toml" in str(caught.value)


def test_sizes_must_fit():
    with pytest.raises(ValueError, match="multiple of n_text_head"):
        Dims(**{**TINY, "n_text_head": 5})


@pytest.mark.parametrize("told", [{"margin": 0.8}, {"encoder": "sha256:00"}])
def test_a_margin_is_of_a_model_that_may_be_given_short_contexts(tmp_path, told):
    info = ModelInfo(name="x", dims=Dims(**TINY))
    context = info.context.model_copy(update=told)
    (tmp_path / "model.toml").write_text(to_toml(info.model_copy(update={"context": context})))
    with pytest.raises(CheckpointError, match="found short = false"):
        read_info(tmp_path)
