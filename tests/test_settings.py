"""Settings: every layer outweighs the one before, and every error names where the value came from."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streamer import resources, settings
from streamer.config import Config
from streamer.errors import ConfigError
from streamer.keys import Setting, options, quote
from streamer.keys import settings as all_settings


def write(folder: Path, text: str, name: str = "my.toml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_without_anything_the_defaults_hold() -> None:
    loaded = settings.load()
    assert loaded.config == Config()
    assert loaded.origin == {}
    assert {origin for _, _, origin in settings.rows(loaded)} == {"default"}


def test_flags_outweigh_environment_outweighs_file(tmp_path: Path) -> None:
    file = write(tmp_path, "[server]\nport = 1\nhistory = 1\nmax_clients = 1\nclient_queue = 20\n")
    env = {"STREAMER_SERVER__PORT": "2", "STREAMER_SERVER_HISTORY": "2"}
    loaded = settings.load(file, env, {"server.port": 3, "server.host": None})
    server = loaded.config.server
    assert (server.port, server.history, server.max_clients) == (3, 2, 1)
    assert server.host == "127.0.0.1"
    assert loaded.origin["server.port"] == "flag --port"
    assert loaded.origin["server.history"] == "environment STREAMER_SERVER_HISTORY"
    assert loaded.origin["server.max_clients"] == file
    assert "server.host" not in loaded.origin


def test_a_flag_may_have_another_name_than_its_setting() -> None:
    loaded = settings.load(None, {}, {"model.name": "tiny"}, {"model.name": "--model"})
    assert loaded.origin["model.name"] == "flag --model"


def test_extends_builds_on_a_preset_and_on_a_file_beside(tmp_path: Path) -> None:
    write(tmp_path, 'extends = "captions"\n[live]\nagree = 3\n', "base.toml")
    loaded = settings.load(write(tmp_path, 'extends = "base.toml"\n[segment]\nhangover_ms = 350\n'))
    assert loaded.config.live.agree == 3
    assert loaded.config.segment.hangover_ms == 350
    assert loaded.config.live.step == 0.4
    assert loaded.origin["live.step"] == "config/captions.toml"
    assert loaded.origin["live.agree"].endswith("base.toml")


def test_extends_in_a_circle_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 'extends = "b.toml"', "a.toml")
    write(tmp_path, 'extends = "a.toml"', "b.toml")
    with pytest.raises(ConfigError, match="circle"):
        settings.load(str(tmp_path / "a.toml"))


def test_the_preset_may_come_from_the_environment() -> None:
    assert settings.load(None, {"STREAMER_CONFIG": "sounds"}).config.live.captions is False
    assert settings.load("default", {"STREAMER_CONFIG": "sounds"}).config.live.captions is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[server]\nprot = 1", r"my\.toml: unknown key 'server\.prot'.*Did you mean 'port'"),
        ("[sever]\nport = 1", r"my\.toml: unknown key 'sever'.*Did you mean 'server'"),
        ("port = 1", r"my\.toml: unknown key 'port'.*Did you mean 'server\.port'"),
        (
            '[sounds.labels."Dog"]\ntreshold = 0.5',
            r"unknown key 'sounds\.labels\.Dog\.treshold'.*'threshold'",
        ),
        ('[[streams]]\nsauce = "mic"', r"unknown key 'streams\[0\]\.sauce'.*'source'"),
        ("[server]\nport = '80'", r"my\.toml: server\.port: input should be a valid integer, found '80'"),
        ("[server]\nport = 99999", r"my\.toml: server\.port: .*65535, found 99999"),
        ("[live]\npartials = 1", r"my\.toml: live\.partials: .*boolean, found 1"),
        ("server = 5", r"my\.toml: server: expected a table, found 5"),
        ("[sounds]\nlabels = 5", r"my\.toml: sounds\.labels: expected a table"),
        ("[sounds.labels]\nDog = 5", r"my\.toml: sounds\.labels\.Dog: expected a table"),
        ("streams = 5", r"my\.toml: streams: .*found 5"),
        ("[[streams]]\nname = 'x'", r"my\.toml: streams\[0\]\[source\]: field required"),
        ('[sounds.labels."Dog bark"]\nthreshold = 3.0', r'my\.toml: sounds\.labels\."Dog bark"\.threshold: '),
        ("[live]\nstep = 0.5", r"\[live\]: step must be a positive multiple.*live\.step from .*my\.toml"),
        ("[live]\nstep = inf", r"my\.toml: live\.step: expected a finite number"),
        ("[vad]\nthreshold = 2020-01-01", r"my\.toml: vad\.threshold: "),
        ("[server", r"my\.toml: expected TOML, found a mistake: .*']'"),
        ("extends = 'captoins'", r"my\.toml: extends: no preset.*Did you mean 'captions'"),
        ("extends = 5", r"my\.toml: extends: expected"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        settings.load(write(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (
            "STREAMER_SERVER__PROT",
            "1",
            "STREAMER_SERVER__PROT: there is no.*Did you mean 'STREAMER_SERVER__PORT'",
        ),
        (
            "STREAMER_SERVER__PORT",
            "eighty",
            "STREAMER_SERVER__PORT: server.port: expected a number, found 'eighty'",
        ),
        ("STREAMER_SERVER__PORT", "70000", "STREAMER_SERVER__PORT: server.port: .*65535"),
        ("STREAMER_LIVE__PARTIALS", "maybe", "STREAMER_LIVE__PARTIALS: .*true or false, found 'maybe'"),
        ("STREAMER_PORT", "80", "STREAMER_PORT: there is no such setting"),
        ("STREAMER_STREAMS", "mic", "STREAMER_STREAMS: streams: expected a list in TOML"),
    ],
)
def test_mistakes_in_the_environment_are_named(name: str, value: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        settings.load(None, {name: value})


def test_wrong_flags_are_named() -> None:
    with pytest.raises(ConfigError, match=r"flag --port: server\.port: .*found -1"):
        settings.load(None, {}, {"server.port": -1})


def test_flags_may_be_text_and_reach_into_tables() -> None:
    given_text = {
        "server.port": "80",
        'sounds.labels."Dog bark".threshold': "0.3",
        "sounds.labels.Cat.ignore": "yes",
    }
    config = settings.load(None, {}, given_text).config
    assert config.server.port == 80
    assert config.sounds.labels["Dog bark"].threshold == 0.3
    assert config.sounds.labels["Cat"].ignore
    with pytest.raises(ConfigError, match=r"flag --treshold: unknown key 'sounds\.labels\.Dog\.treshold'"):
        settings.load(None, {}, {"sounds.labels.Dog.treshold": "1"})


def test_two_spellings_of_one_setting_are_refused() -> None:
    with pytest.raises(ConfigError, match="set already by environment STREAMER_SERVER_PORT"):
        settings.load(None, {"STREAMER_SERVER_PORT": "1", "STREAMER_SERVER__PORT": "2"})


def test_variables_of_others_are_left_alone() -> None:
    env = {
        "STREAMER_SERVICE_HOST": "10.0.0.1",
        "STREAMER_SERVICE_PORT_HTTP": "80",
        "STREAMER_PORT_8765_TCP": "tcp://10.0.0.1:8765",
        "STREAMER_MODELS": "/models",
        "STREAMER_TEST_X": "1",
        "PATH": "/bin",
    }
    assert settings.load(None, env).config == Config()


def test_a_service_link_of_kubernetes_is_no_port() -> None:
    assert settings.load(None, {"STREAMER_PORT": "tcp://10.0.0.1:8765"}).config == Config()


def test_labels_of_several_layers_add_up(tmp_path: Path) -> None:
    file = write(tmp_path, '[sounds.labels."Dog bark"]\nthreshold = 0.3\ncooldown = 5\n')
    loaded = settings.load(
        file, {"STREAMER_SOUNDS__LABELS": '{"Dog bark" = {threshold = 0.4}, Cat = {ignore = true}}'}
    )
    labels = loaded.config.sounds.labels
    assert (labels["Dog bark"].threshold, labels["Dog bark"].cooldown) == (0.4, 5)
    assert labels["Cat"].ignore
    shown = {key: (value, origin) for key, value, origin in settings.rows(loaded)}
    assert shown['sounds.labels."Dog bark".cooldown'] == (5, file)
    assert shown["sounds.labels.Cat.ignore"] == (True, "environment STREAMER_SOUNDS__LABELS")


def test_replacements_of_several_layers_add_up_and_those_of_words_may_be_a_list(tmp_path: Path) -> None:
    file = write(tmp_path, '[text]\nprofanity = ["darn"]\n[text.replacements]\n"new york" = "NYC"\num = ""\n')
    loaded = settings.load(file, {"STREAMER_TEXT__REPLACEMENTS": '{um = "er"}'}, {"text.replacements.a": "b"})
    assert loaded.config.text.replacements == {"new york": "NYC", "um": "er", "a": "b"}
    assert loaded.config.text.profanity == ["darn"]
    assert settings.load(None, {"STREAMER_TEXT__PROFANITY": '["a"]'}).config.text.profanity == ["a"]
    assert settings.load(None, {"STREAMER_TEXT__PROFANITY": "yes"}).config.text.profanity is True
    with pytest.raises(ConfigError, match=r"text\.profanity: expected true, false or a list"):
        settings.load(None, {"STREAMER_TEXT__PROFANITY": "darn"})
    with pytest.raises(ConfigError, match=r"text\.replacements\.um: .*string, found 5"):
        settings.load(None, {}, {"text.replacements.um": 5})


def test_rows_and_errors_show_no_secret() -> None:
    streams = [{"source": "rtsp://me:hush@camera/1"}]
    loaded = settings.load(None, {"STREAMER_SERVER__TOKEN": "hush"}, {"streams": streams})
    text = json.dumps(settings.rows(loaded))
    assert "hush" not in text
    assert "camera/1" in text
    assert loaded.config.streams[0].source == "rtsp://me:hush@camera/1"
    with pytest.raises(ConfigError) as error:
        settings.load(None, {"STREAMER_STREAMS": "rtsp://me:hush@camera/1"})
    assert "hush" not in str(error.value)


def test_rows_cover_every_setting() -> None:
    assert [key for key, _, _ in settings.rows(settings.load())] == list(all_settings())


# ---------------------------------------------------------------- for every setting there is


def values(setting: Setting) -> st.SearchStrategy[Any]:
    """Values of a setting's type; not every one of them is allowed."""
    if setting.key == "streams":
        entry = st.fixed_dictionaries(
            {"source": st.text("abc:/@", min_size=1)}, optional={"name": st.text("abc")}
        )
        return st.lists(entry, max_size=2)
    if setting.key == "text.replacements":
        return st.dictionaries(st.text("new york.\"'ü", min_size=1), st.text("NYC"), max_size=2)
    if setting.table:
        label = st.fixed_dictionaries(
            {}, optional={"threshold": st.floats(0.1, 0.9), "ignore": st.booleans()}
        )
        return st.dictionaries(st.text("Dog .\"'ü", min_size=1), label, max_size=2)
    for one in options(setting.annotation):
        if get_origin(one) is Literal:
            return st.sampled_from(get_args(one))
        if get_origin(one) is list:
            return st.lists(st.text("ab'ü\"") if str in get_args(one) else st.floats(0, 1), max_size=2)
        if one is bool:
            return st.booleans()
        if one is int:
            return st.integers(-5, 10_000)
        if one is float:
            return (
                st.integers(1, 20).map(lambda n: round(0.4 * n, 1))
                | st.floats(0.01, 0.99)
                | st.integers(0, 30)
            )
        if one is str:
            return st.text(st.characters(codec="utf-8", exclude_characters="\0"))
    raise AssertionError(f"no values for {setting}")


def toml(value: Any) -> str:
    """TOML of plain values."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    # TOML, unlike JSON, refuses this control character in text.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def outcome(*arguments: Any) -> tuple[Config, set[str]] | None:
    """What loading gives, None for a refusal."""
    try:
        loaded = settings.load(*arguments)
    except ConfigError:
        return None
    return loaded.config, set(loaded.origin)


@pytest.mark.parametrize("key", list(all_settings()))
def test_environment_file_and_flag_say_the_same(key: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    setting = all_settings()[key]
    file = tmp_path_factory.mktemp("settings") / "one.toml"

    @hypothesis_settings(max_examples=20)
    @given(values(setting))
    def check(value: Any) -> None:
        section, _, leaf = key.rpartition(".")
        file.write_text((f"[{section}]\n" if section else "") + f"{leaf} = {toml(value)}\n", "utf-8")
        text = value if isinstance(value, str) else toml(value)
        by_file = outcome(str(file))
        names = ["STREAMER_" + key.upper().replace(".", separator) for separator in ("__", "_")]
        for name in names:
            assert outcome(None, {name: text}) == by_file
        assert outcome(None, {}, {key: value}) == by_file

    check()


# ---------------------------------------------------------------- the presets


@pytest.mark.parametrize(
    "name", ["default", "captions", "hearing-aid", "dictation", "sounds", "many-streams"]
)
def test_presets_load(name: str) -> None:
    assert settings.load(name).config.model_dump() is not None
    assert name in resources.presets()


def test_presets_differ_from_the_defaults_as_they_say() -> None:
    assert settings.load("default").config == Config()
    captions = settings.load("captions").config
    assert (captions.segment.hangover_ms, captions.live.step) == (300, 0.4)
    assert settings.load("sounds").config.live.captions is False
    many = settings.load("many-streams").config
    assert (many.live.partials, many.sounds.hop) == (False, 1.6)


def test_presets_for_a_use_go_from_hasty_to_patient_and_what_is_set_outweighs_them(tmp_path: Path) -> None:
    used = [settings.load(name).config for name in ("hearing-aid", "captions", "default", "dictation")]
    for section, key in (
        ("segment", "hangover_ms"),
        ("segment", "longest"),
        ("live", "step"),
        ("live", "margin"),
        ("live", "longest_lag"),
    ):
        values = [getattr(getattr(config, section), key) for config in used]
        assert values == sorted(values)
        assert values[0] < values[-1]
    file = write(tmp_path, 'extends = "dictation"\n[segment]\nhangover_ms = 900\n')
    own = settings.load(file, {"STREAMER_LIVE__STEP": "1.2"}, {"live.margin": 0.6})
    shown = {key: (value, origin) for key, value, origin in settings.rows(own)}
    assert shown["segment.hangover_ms"] == (900, file)
    assert shown["live.step"] == (1.2, "environment STREAMER_LIVE__STEP")
    assert shown["live.margin"] == (0.6, "flag --margin")
    assert shown["live.longest_lag"] == (10.0, "config/dictation.toml")


def test_the_default_preset_lists_every_setting_with_its_default() -> None:
    text = resources.presets()["default"].read_text()
    bare = re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE)
    tree = tomllib.loads(bare)
    listed = {f"{section}.{name}": value for section, table in tree.items() for name, value in table.items()}
    expected = {
        key: value for key, value, _ in settings.rows(settings.load()) if value is not None and "." in key
    }
    del expected["sounds.labels"]
    assert listed == expected


def test_unknown_presets_get_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'captions'"):
        settings.load("caption")


@pytest.mark.parametrize(
    "key", ["", ".", "server..port", ".port", 'sounds.labels."Dog.threshold', 'sounds.labels."\\q".ignore']
)
def test_a_flag_with_a_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=r"flag --set: expected a key such as server\.port"):
        settings.load(None, {}, {key: "1"}, {key: "--set"})


@given(st.text(min_size=1))
def test_every_label_can_be_set_by_its_key(label: str) -> None:
    key = f"sounds.labels.{quote(label)}.threshold"
    assert settings.load(None, {}, {key: "0.25"}).config.sounds.labels[label].threshold == 0.25
