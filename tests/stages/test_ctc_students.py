"""Students that learn by CTC: on a language of tones, whose words are known to the sample, and on real speech."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from rapidfuzz.distance import Levenshtein

from manifests.schema import Row
from manifests.store import Store
from pipeline.contract import PartContext, SilverError
from stages.align import Align, network
from stages.audio import Samples
from stages.relabel import Relabel
from stages.train import Train, student
from stages.train.data import Utterance
from stages.train.vocabulary import Vocabulary
from stages.transcribe import Transcribe
from stages.transcribe.ctc import Ctc, Decoding, Search, Token, arpa_words, hypothesis
from tests import tiny_ctc
from tests.windows import spoken, store_windows

SMALL = {"width": 64, "layers": 1, "heads": 2, "kernel": 5, "dropout": 0.0, "time_masks": 0, "frequency_masks": 0}


def tones(count: int, seed: int = 0) -> list[tuple[Samples, str, list[tuple[float, float]]]]:
    """Samples, text and word times of sentences of five words."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        words, pauses = tiny_ctc.random_words(rng, 5)
        samples, times = tiny_ctc.speak(words, pauses, seed=int(rng.integers(1 << 30)))
        made.append((samples, " ".join(words), times))
    return made


def learn(name: str, options: dict, said: Sequence[tuple], folder: Path, steps: int, rate: float, start: Path | None = None) -> Path:
    """Train a student as the loop of `train` does, and write it."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    made = student.kind(name)(student.kind(name).Options.model_validate(options))
    found = made.build([text for _, text, *_ in said], start)
    optimizer = torch.optim.AdamW([value for value in found.parameters() if value.requires_grad], lr=rate)
    found.train()
    for step in range(steps):
        batch = [said[(step * 8 + index) % len(said)] for index in range(8)]
        loss = made.loss(found, made.batch([Utterance(samples, text, None) for samples, text, *_ in batch]))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(found.parameters(), 1.0)
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 20, 2 * (1 - step / steps))
    found.eval()
    made.save(found, folder)
    return folder


def stored(root: Path, waves: Sequence[Samples], **columns: object) -> tuple[PartContext, list[Row]]:
    return PartContext(Store(str(root))), [row | columns for row in store_windows(root, waves, None)]


def word_errors(said: str, wrote: str) -> int:
    return Levenshtein.distance(said.split(), wrote.split())


def written(labeller: Ctc, context: PartContext, rows: Sequence[Row]) -> list[str]:
    labeller.setup(context)
    return [found.text for found in labeller.label(rows, context)]


@pytest.fixture(scope="module")
def conformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learn("conformer-ctc", SMALL, tones(160), tmp_path_factory.mktemp("conformer"), 120, 1e-2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_ctc.train(tmp_path_factory.mktemp("tiny"))


def test_a_conformer_from_scratch_labels_what_it_never_heard(conformer: Path, tmp_path: Path) -> None:
    said = tones(10, seed=1)
    context, rows = stored(tmp_path, [samples for samples, *_ in said])
    wrote = written(student.labeller(conformer, 8), context, rows)
    errors = sum(Levenshtein.distance(text, heard) for (_, text, _), heard in zip(said, wrote, strict=True))
    assert errors < 0.1 * sum(len(text) for _, text, _ in said), wrote


def test_a_student_is_a_labeller_of_transcribe(conformer: Path, tmp_path: Path) -> None:
    said = tones(2, seed=2)
    context, rows = stored(tmp_path, [samples for samples, *_ in said])
    stage = Transcribe(Transcribe.Params(labeller="ctc", model=str(conformer)))
    assert stage.identity()["sha256"]
    stage.setup(context)
    for row in stage.process(rows, context):
        assert row["label_origin"].startswith("ctc/")
        assert row["avg_logprob"] < 0
        assert len(row["labels"][0]["scores"]) == len(row["text_raw"].split()) > 2


def test_a_student_aligns_the_words_that_it_learned(conformer: Path, tmp_path: Path) -> None:
    said = tones(3, seed=3)
    context = PartContext(Store(str(tmp_path)))
    stage = Align(Align.Params(backend="torchaudio", model=str(conformer)))
    assert stage.identity()["sha256"]
    stage.setup(context)
    rows = [row | {"text_raw": text} for row, (_, text, _) in zip(store_windows(tmp_path, [it[0] for it in said], None), said, strict=True)]
    found = [word["start"] - row["start"] for row in stage.process(rows, context) for word in row["words"]]
    true = [start for *_, own in said for start, _ in own]
    off = [abs(heard - start) for heard, start in zip(found, true, strict=True)]
    assert np.median(off) < 0.1, off


def test_a_student_whose_weights_are_damaged_is_named(conformer: Path, tiny: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(conformer, tmp_path / "models" / "train_1" / "0123456789abcdef"))
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    context, rows = stored(tmp_path, [np.zeros(16000, np.float32)])
    with pytest.raises(SilverError, match=r"models/train_1/0123456789abcdef.*model\.safetensors does not fit"):
        list(
            Relabel(Relabel.Params()).process([row | {"student": "models/train_1/0123456789abcdef", "labels": []} for row in rows], context)
        )
    published = Path(shutil.copytree(tiny, tmp_path / "models" / "train_2" / "0123456789abcdef"))
    (published / "student.json").write_text(json.dumps({"kind": "hf-ctc", "model": "tiny", "decoding": {}}))
    (published / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(SilverError, match=r"the student in .*/models/train_2/0123456789abcdef cannot be loaded"):
        list(
            Relabel(Relabel.Params()).process([row | {"student": "models/train_2/0123456789abcdef", "labels": []} for row in rows], context)
        )


def test_what_a_student_cannot_write_is_known_from_the_gold(conformer: Path, tiny: Path) -> None:
    options = {"hf-ctc": {"model": str(tiny)}, "conformer-ctc": {}}
    learners = {name: student.kind(name)(student.kind(name).Options.model_validate(own)) for name, own in options.items()}
    for learner in learners.values():
        learner.check(["Abc, de!"], ["en"], None)
    learners["conformer-ctc"].check(["καλημέρα"], ["el"], None)  # it learns what it is taught
    with pytest.raises(SilverError, match=r"cannot write 100% of the characters of the gold \(α .*set options\.new_vocabulary"):
        learners["hf-ctc"].check(["καλημέρα"], ["el"], None)
    with pytest.raises(SilverError, match="leave out start and go_on"):
        learners["conformer-ctc"].check(["καλημέρα"], ["el"], conformer)


def test_a_model_that_is_none_of_ctc_is_refused_before_anything_runs(tmp_path: Path) -> None:
    from transformers import WhisperConfig

    WhisperConfig().save_pretrained(tmp_path)
    learner = student.kind("hf-ctc")(student.kind("hf-ctc").Options(model=str(tmp_path)))
    with pytest.raises(SilverError, match="is a whisper, and hf-ctc trains models of CTC"):
        learner.check(["hello"], ["en"], None)


def test_a_language_that_a_whisper_has_no_token_for_is_refused_before_anything_runs(base_model: Path) -> None:
    learner = student.kind("hf-whisper")(student.kind("hf-whisper").Options(model=str(base_model)))
    learner.check(["hallo"], ["nl", None], None)
    with pytest.raises(SilverError, match="does not write the language 'tlh'"):
        learner.check(["nuqneH"], ["tlh"], None)


def test_pieces_of_words_label_and_do_not_align(tmp_path: Path) -> None:
    folder = learn("conformer-ctc", SMALL | {"pieces": 60}, tones(16), tmp_path / "student", 3, 1e-3)
    assert any(len(label) > 1 for label in network.load(str(folder), "cpu").labels)
    stage = Align(Align.Params(backend="torchaudio", model=str(folder)))
    with pytest.raises(SilverError, match="writes pieces of words"):
        stage.setup(PartContext(Store(str(tmp_path))))


def test_pieces_write_what_they_read(tmp_path: Path) -> None:
    texts = ["the night train to leeds", "the mail train to the night"]
    made = Vocabulary.of(texts, 40)
    made.save(tmp_path)
    read = Vocabulary.read(tmp_path)
    assert read.labels == made.labels
    for text in texts:
        assert "".join(read.labels[index] for index in read.classes(text)).strip() == text


def test_a_student_goes_on_with_its_own_vocabulary_and_refuses_another_script(conformer: Path, tmp_path: Path) -> None:
    again = learn("conformer-ctc", SMALL, tones(8), tmp_path / "again", 1, 1e-6, start=conformer)
    assert json.loads((again / "vocab.json").read_text()) == json.loads((conformer / "vocab.json").read_text())
    with pytest.raises(SilverError, match=r"model\.safetensors does not fit the options of this student"):
        learn("conformer-ctc", SMALL | {"width": 32}, tones(8), tmp_path / "narrow", 1, 1e-6, start=conformer)
    greek = [(samples, "καλημέρα σας", times) for samples, _, times in tones(8)]
    with pytest.raises(SilverError, match=r"cannot write 100% of the characters of the labels \(α"):
        learn("conformer-ctc", SMALL, greek, tmp_path / "greek", 1, 1e-3, start=conformer)


def test_a_hugging_face_model_is_trained_on_and_read_by_its_own_library(tiny: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCTC, AutoProcessor

    own = learn("hf-ctc", {"model": str(tiny)}, tones(16), tmp_path / "own", 3, 1e-5)
    assert json.loads((own / "vocab.json").read_text()) == tiny_ctc.VOCABULARY
    greek = [(samples, text.translate(str.maketrans("abcdefghij", "αβγδεζηθικ")), times) for samples, text, times in tones(40)]
    with pytest.raises(SilverError, match=r"cannot write 100% .* set options\.new_vocabulary"):
        learn("hf-ctc", {"model": str(tiny)}, greek, tmp_path / "refused", 1, 1e-3)
    folder = learn("hf-ctc", {"model": str(tiny), "new_vocabulary": True}, greek, tmp_path / "greek", 110, 1e-2)
    context, rows = stored(tmp_path / "store", [samples for samples, *_ in greek[:5]])
    wrote = written(student.labeller(folder, 8), context, rows)
    assert sum(map(word_errors, [text for _, text, _ in greek[:5]], wrote)) <= 5, wrote
    model, processor = AutoModelForCTC.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    with torch.inference_mode():
        logits = model(**processor(greek[0][0], sampling_rate=16_000, return_tensors="pt")).logits
    assert processor.batch_decode(logits.argmax(-1))[0] == wrote[0]


def parakeet(folder: Path, classes: int, blank: int) -> Path:
    """A Parakeet of random weights, without a vocabulary: a frame of features each 10 ms, one of the network each 40."""
    from transformers import ParakeetCTCConfig, ParakeetFeatureExtractor, ParakeetForCTC

    torch.manual_seed(0)
    encoder = {
        "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 128, "conv_kernel_size": 5, "subsampling_factor": 4,
        "subsampling_conv_channels": 16, "dropout": 0.0, "layerdrop": 0.0, "activation_dropout": 0.0, "attention_dropout": 0.0,
    }  # fmt: skip
    ParakeetForCTC(ParakeetCTCConfig(vocab_size=classes, pad_token_id=blank, encoder_config=encoder)).save_pretrained(folder)
    ParakeetFeatureExtractor(feature_size=80).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trained_parakeet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parakeet")
    options = {"model": str(parakeet(folder / "begin", 11, 0)), "time_masks": 0, "frequency_masks": 0}
    return learn("hf-ctc", options, tones(80), folder / "student", 120, 1e-2)


def test_a_model_that_takes_features_is_trained_labels_and_is_read_by_its_own_library(trained_parakeet: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCTC, AutoProcessor

    said = tones(8, seed=1)
    context, rows = stored(tmp_path, [samples for samples, *_ in said])
    wrote = written(student.labeller(trained_parakeet, 8), context, rows)
    errors = sum(Levenshtein.distance(text, heard) for (_, text, _), heard in zip(said, wrote, strict=True))
    assert errors < 0.1 * sum(len(text) for _, text, _ in said), wrote
    assert written(student.labeller(trained_parakeet, 1), context, rows) == wrote, "a row's text does not depend on what shares its batch"
    model, processor = AutoModelForCTC.from_pretrained(trained_parakeet).eval(), AutoProcessor.from_pretrained(trained_parakeet)
    with torch.inference_mode():
        logits = model(**processor(said[0][0], sampling_rate=16_000, return_tensors="pt")).logits
    assert processor.batch_decode(logits.argmax(-1))[0].strip() == wrote[0]


def test_a_model_that_takes_features_aligns(trained_parakeet: Path, tmp_path: Path) -> None:
    said = tones(3, seed=3)
    stage = Align(Align.Params(backend="torchaudio", model=str(trained_parakeet)))
    assert stage.identity()["sha256"]
    context, rows = stored(tmp_path, [samples for samples, *_ in said])
    stage.setup(context)
    aligned = stage.process([row | {"text_raw": text} for row, (_, text, _) in zip(rows, said, strict=True)], context)
    found = [word["start"] - row["start"] for row in aligned for word in row["words"]]
    true = [start for *_, own in said for start, _ in own]
    assert np.median([abs(heard - start) for heard, start in zip(found, true, strict=True)]) < 0.1, (found, true)


def test_a_parakeet_goes_on_in_the_pieces_that_it_came_with(tmp_path: Path) -> None:
    begin = parakeet(tmp_path / "begin", 31, 30)  # the blank is its last class
    pieces = Vocabulary.of([text for _, text, _ in tones(40)], 30).pieces
    pieces.save(str(begin / "tokenizer.json"))
    folder = learn("hf-ctc", {"model": str(begin)}, tones(8), tmp_path / "student", 2, 1e-3)
    assert (folder / "tokenizer.json").read_bytes() == (begin / "tokenizer.json").read_bytes()
    known = network.load(str(folder), "cpu")
    assert known.blank == 30
    assert known.spell is not None
    assert "".join(known.labels[index] for index in known.spell("abc de")).strip() == "abc de"
    assert Transcribe(Transcribe.Params(labeller="ctc", model=str(folder))).identity()["sha256"]
    with pytest.raises(SilverError, match="writes pieces of words"):
        Align(Align.Params(backend="torchaudio", model=str(folder))).setup(PartContext(Store(str(tmp_path))))
    greek = [(samples, "καλημέρα σας", times) for samples, _, times in tones(8)]
    with pytest.raises(SilverError, match=r"cannot write 100% .* set options\.new_vocabulary"):
        learn("hf-ctc", {"model": str(begin)}, greek, tmp_path / "greek", 1, 1e-3)


def test_wav2vec_bert_makes_as_many_frames_as_it_says(tmp_path: Path) -> None:
    from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertForCTC

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "output_hidden_size": 32}
    Wav2Vec2BertForCTC(Wav2Vec2BertConfig(vocab_size=11, pad_token_id=0, conv_depthwise_kernel_size=5, **sizes)).save_pretrained(
        tmp_path / "begin"
    )
    SeamlessM4TFeatureExtractor().save_pretrained(tmp_path / "begin")
    quiet = {"model": str(tmp_path / "begin"), "time_masks": 0, "frequency_masks": 0, "dropout": 0.0}
    folder = learn("hf-ctc", quiet, tones(8), tmp_path / "student", 2, 1e-3)
    assert json.loads((folder / "config.json").read_text())["apply_spec_augment"] is False
    assert json.loads((folder / "config.json").read_text())["hidden_dropout"] == 0
    known = network.load(str(folder), "cpu")
    assert known.stride == 0.02
    waves = [samples for samples, *_ in tones(3)]
    together, alone = known.log_probs(waves, 3), [known.log_probs([wave], 1)[0] for wave in waves]
    for wave, first, second in zip(waves, together, alone, strict=True):
        assert len(first) == len(second) == known.frames(len(wave)) == (len(wave) - 400) // 160 // 2 + (len(wave) - 400) // 160 % 2
        assert first == pytest.approx(second, abs=1e-4)


def test_whispers_frozen_encoder_with_a_new_network_on_top_learns_real_speech(base_model: Path, tmp_path: Path) -> None:
    windows = spoken("en", 8, 3)
    said = [(window.samples, window.text.lower()) for window in windows]
    whisper = shutil.copytree(base_model, tmp_path / "whisper")
    options = {"model": str(whisper), "keep": True, "width": 128, "dropout": 0.0, "time_masks": 0, "channel_masks": 0}
    folder = learn("encoder-ctc", options, said, tmp_path / "student", 50, 3e-3)
    shutil.rmtree(whisper)  # the student is whole without it
    context, rows = stored(tmp_path / "store", [samples for samples, _ in said])
    wrote = written(student.labeller(folder, 3), context, rows)
    alone = written(student.labeller(folder, 1), context, rows)
    assert wrote == alone, "a row's text does not depend on what shares its batch"
    errors = sum(word_errors(text, heard) for (_, text), heard in zip(said, wrote, strict=True))
    assert errors < 0.3 * sum(len(text.split()) for _, text in said), wrote


ARPA = """\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-1\t<unk>
-99\t<s>\t0
-1\t</s>
-1\tab\t0
-1\tac\t0

\\2-grams:
-0.1\t<s> ab
-3\t<s> ac
-0.1\tab </s>

\\end\\
"""


@pytest.fixture
def unsure() -> network.Network:
    """Writes a, b, c; no model."""
    return network.Network(None, ("", " ", "a", "b", "c"), 0, ((320, 320),), None, True, "cpu")


def test_a_language_model_decides_where_the_sound_does_not(unsure: network.Network, tmp_path: Path) -> None:
    (tmp_path / "lm.arpa").write_text(ARPA)
    said = np.log(np.array([[0.01, 0.01, 0.96, 0.01, 0.01], [0.02, 0.02, 0.02, 0.44, 0.50], [0.9, 0.07, 0.01, 0.01, 0.01]], np.float32))
    assert hypothesis(Search(unsure, Decoding(beam_size=10))(said)).text == "ac"
    with_model = Search(unsure, Decoding(beam_size=10, lm=str(tmp_path / "lm.arpa"), lm_weight=1.0))
    found = hypothesis(with_model(said))
    assert found.text == "ab"
    assert found.scores == pytest.approx([(0.96 + 0.44) / 2], abs=0.02)
    assert with_model(np.zeros((0, 0), np.float32)) == []


def test_a_language_model_that_cannot_help_is_refused(unsure: network.Network, tmp_path: Path) -> None:
    assert list(arpa_words(_file(tmp_path / "good", ARPA))) == ["ab", "ac"]
    with pytest.raises(SilverError, match="is no ARPA file"):
        list(arpa_words(_file(tmp_path / "bad", "mmap lm http://kheafield.com/code format version 5")))
    upper = _file(tmp_path / "greek", ARPA.replace("ab", "αβ").replace("ac", "αγ"))
    with pytest.raises(SilverError, match="can spell none of its words"):
        Search(unsure, Decoding(lm=str(upper)))
    with pytest.raises(SilverError, match="cannot be read"):
        Decoding(lm=str(tmp_path / "nowhere.arpa")).identity()


def _file(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_batch_of_clicks_teaches_nothing_and_does_no_harm() -> None:
    made = student.kind("conformer-ctc")(student.kind("conformer-ctc").Options.model_validate(SMALL))
    found = made.build(["ab"], None)
    loss = made.loss(found, made.batch([Utterance(np.zeros(300, np.float32), text, None) for text in ("ab", "a")]))
    loss.backward()
    assert loss == 0


def test_what_is_written_and_how_surely() -> None:
    found = hypothesis([Token("a", -0.1), Token(" ", -2.0), Token("b", -0.3), Token("c", -0.5)])
    assert (found.text, found.avg_logprob) == ("a bc", pytest.approx(-0.3))
    assert found.scores == pytest.approx([np.exp(-0.1), (np.exp(-0.3) + np.exp(-0.5)) / 2])
    assert hypothesis([]).avg_logprob is None


def test_options_of_another_student_are_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="layers"):
        Train.Params(student="hf-whisper", dev=str(tmp_path / "dev.jsonl"), options={"layers": 3})
