"""Cards: what is read, what is set aside, what replaces what."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import make_adapter, make_base, write_card

from engine.errors import LimitError, ModelError, SetupError
from engine.files import BUILT_IN
from engine.installation.install import NewExpert, add_expert
from engine.plan.cards import Registry, load_card, load_registry
from engine.settings import read_config
from engine.study.design.experiment_file import parse_experiment
from engine.study.study import folder_of, read_study_file
from engine.weights import bases, conversion
from engine.weights.weight_files import digest_of

VOICES = ["lovecraft", "agatha", "poe", "doyle", "austen", "wilde"]


@pytest.mark.parametrize("profile", ["full", "embedded"])
def test_the_built_in_experts_serve_both_profiles(profile: str) -> None:
    registry = Registry.load([BUILT_IN], profile)
    assert not registry.problems
    assert [e.name for e in registry.of_command("story")] == VOICES
    full = {e.profiles["full"].base for e in registry.of_command("story")}
    assert full == {"google/gemma-2-2b-it"}


def test_an_operators_card_replaces_the_built_in_one(tmp_path: Path) -> None:
    write_card(tmp_path, "agatha", "smollm2-135m-instruct")
    registry = Registry.load([BUILT_IN, tmp_path], "embedded")
    assert registry.named("agatha").folder == tmp_path / "agatha"


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (("command", "comand"), "comand"),
        (('medium = "text"', 'medium = "sound"'), "medium"),
        (('name = "moss"', 'name = "fern"'), "folder is 'moss'"),
        (("order = 1", "order = "), "cannot be read"),
        (("[rights]", '[template]\ntext = "{nothing}{beginning}"\n[rights]'), "template"),
        (("[rights]", '[template]\ntext = "{request:>300000000}{beginning}"\n[rights]'), "braces"),
        (("order = 1", "order = " + "[" * 20_000), "cannot be read"),
        (("order = 1", "order = " + "1" * 5_000), "cannot be read"),
        (("order = 1", "order = 1\n#" + " " * 300_000), "256 KiB"),
        (('adapter = ""', 'adapter = "~nobody-of-that-name/x"'), "not right"),
        (('adapter = ""', 'adapter = "' + "a/" * 5_000 + '"'), "not right"),
        (('keywords = ["moss"]', f"keywords = {['moss'] * 501}"), "keywords"),
    ],
)
def test_a_bad_card_is_set_aside_with_its_mistake_and_the_others_serve(
    tmp_path, harm, told
) -> None:
    write_card(tmp_path, "fern", "smollm2-135m-instruct")
    card = write_card(tmp_path, "moss", "smollm2-135m-instruct") / "card.toml"
    card.write_text(card.read_text().replace(*harm))
    registry = Registry.load([tmp_path], "embedded")
    assert [e.name for e in registry.experts] == ["fern"]
    assert told in registry.problems[0]


@pytest.mark.parametrize("text", ["a = " + "[" * 20_000, "a = " + "1" * 5_000])
def test_no_file_of_the_operator_is_nested_or_long_enough_to_end_the_program(
    settings, text
) -> None:
    study = folder_of(settings, "pilot") / "study.toml"
    study.parent.mkdir(parents=True)
    for path in (study, settings.home / "pastiche.toml"):
        path.write_text(text)
    for read in (
        lambda: read_config(settings.home),
        lambda: read_study_file(settings, "pilot"),
        lambda: parse_experiment(text, "x.toml"),
    ):
        with pytest.raises(SetupError):
            read()


def test_a_card_that_is_no_plain_file_is_set_aside_without_a_wait(tmp_path: Path) -> None:
    write_card(tmp_path, "fern", "smollm2-135m-instruct")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "card.toml")
    (tmp_path / "endless").mkdir()
    (tmp_path / "endless" / "card.toml").symlink_to("/dev/zero")
    registry = Registry.load([tmp_path], "embedded")
    assert [e.name for e in registry.experts] == ["fern"]
    assert len(registry.problems) == 2


@pytest.mark.parametrize(
    "spelling",
    [
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "/home/ann/models/smollm2-135m-instruct",
    ],
)
def test_every_known_spelling_of_a_base_is_one_base(tmp_path, spelling) -> None:
    write_card(tmp_path, "moss", spelling)
    registry = Registry.load([tmp_path], "embedded")
    assert registry.weights(registry["moss"]).base == "smollm2-135m-instruct"


def test_a_profile_without_any_expert_is_told(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="experts add"):
        load_registry([tmp_path], "embedded")


def test_a_profile_that_no_card_knows_is_told_with_those_that_there_are() -> None:
    with pytest.raises(SetupError, match=r"no profile 'fulll': the cards know embedded, full\."):
        load_registry([BUILT_IN], "fulll")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("adding")
    return make_adapter(make_base(root / "base", "llama"), root / "moss", 1)


def _new(adapter: Path, **changes) -> NewExpert:
    values = {"spec": str(adapter), "name": "moss", "title": "Moss", "licence": "CC0-1.0"}
    return NewExpert(**{**values, "keywords": ("mossy",), **changes})


def test_an_added_adapter_is_copied_digested_and_read_beside_the_others(settings, adapter) -> None:
    card = add_expert(_new(adapter), settings)
    expert = load_card(card.parent)
    assert expert.profiles["embedded"].digest == digest_of(card.parent / "adapter")
    registry = Registry.load(settings.expert_roots, "embedded")
    assert {e.name for e in registry.experts} >= {"lovecraft", "agatha", "moss"}
    assert registry.weights(expert).base == str(adapter.parent / "base")


def test_adding_over_an_expert_needs_replace(settings, adapter) -> None:
    with pytest.raises(LimitError, match="--replace"):
        add_expert(_new(adapter, name="agatha"), settings)
    add_expert(_new(adapter), settings)
    with pytest.raises(LimitError, match="--replace"):
        add_expert(_new(adapter), settings)
    add_expert(_new(adapter, replace=True), settings)


def test_what_is_no_adapter_is_refused_and_nothing_is_left(settings, adapter, tmp_path) -> None:
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(LimitError, match="no folder"):
        add_expert(_new(adapter, spec=str(tmp_path / "nowhere")), settings)
    for spec, told in (
        (str(pickled), "pickled"),
        ("nobody/unreachable", "could not be fetched"),
    ):
        with pytest.raises(ModelError, match=told):
            add_expert(_new(adapter, spec=spec), settings)
    with pytest.raises(LimitError, match="cannot be a name"):
        add_expert(_new(adapter, name="Not A Name"), settings)
    assert not [p for p in (settings.home / "experts").glob("*") if p.is_dir()]


def test_an_embedded_base_that_is_not_prepared_says_how(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="pastiche prepare"):
        bases.find_base("smollm2-135m-instruct", tmp_path)
    assert not bases.present("smollm2-135m-instruct", tmp_path)
    with pytest.raises(ModelError, match="no base"):
        bases.find_base(str(tmp_path / "nowhere" / "at" / "all"), tmp_path)


def test_a_base_that_the_disk_cannot_hold_is_not_begun(tmp_path: Path) -> None:
    huge = replace(bases.EMBEDDED["smollm2-135m-instruct"], bytes=1 << 60)
    with pytest.raises(ModelError, match=r"needs \d+ MiB in .* are free"):
        conversion.check_room(huge, tmp_path)


def test_a_digest_changes_with_any_byte_and_not_with_the_place(adapter, tmp_path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(adapter, copy)
    assert digest_of(copy) == digest_of(adapter)
    with (copy / "adapter_config.json").open("a") as file:
        file.write(" ")
    assert digest_of(copy) != digest_of(adapter)


def test_a_registry_that_learns_takes_in_new_cards_and_leaves_those_it_knows(tmp_path) -> None:
    write_card(tmp_path, "fern", "smollm2-135m-instruct")
    registry = load_registry([tmp_path], "embedded", learns=True)
    (fern,) = registry.experts
    write_card(tmp_path, "fern", "another-base")  # known: as it was until a restart
    write_card(tmp_path, "moss", "smollm2-135m-instruct", order=0)
    card = write_card(tmp_path, "ring", "smollm2-135m-instruct") / "card.toml"
    card.write_text(card.read_text().replace('"story"', '"ode"'))  # no client knows /ode
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "card.toml").write_text("name = ")
    assert [e.name for e in registry.learn().experts] == ["moss", "fern"]
    assert registry["fern"] is fern
    assert len(registry.problems) == 1
    written = write_card(tmp_path, "half", "smollm2-135m-instruct", order=2) / "card.toml"
    os.utime(written, ns=(0, 10**18))  # however coarse this file system's clock
    fixed = load_registry([tmp_path], "embedded")
    write_card(tmp_path, "late", "smollm2-135m-instruct", order=3)
    assert [e.name for e in registry.learn().experts] == ["moss", "fern", "half", "late"]
    assert fixed.named("late") is None
    assert fixed.learn().named("late") is None


def test_many_that_learn_at_once_take_a_card_in_once_and_miss_none(tmp_path) -> None:
    write_card(tmp_path, "fern", "smollm2-135m-instruct")
    registry = load_registry([tmp_path], "embedded", learns=True)
    names = [f"moss{number}" for number in range(40)]

    def learn(number: int) -> bool:
        made = write_card(tmp_path / "away", names[number], "smollm2-135m-instruct")
        made.rename(tmp_path / names[number])
        return registry.learn().named(names[number]) is not None

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(learn, range(40)))
    assert sorted(e.name for e in registry.experts) == sorted(["fern", *names])
