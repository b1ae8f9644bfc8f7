"""From files into modules: strict, safe, one copy."""

from __future__ import annotations

import json
import pickle
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import torch
from accelerate import init_empty_weights
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.golden.place import CHECKPOINTS
from tests.unit.lightningdrag.tiny import tiny_model
from worker.engines.lightningdrag.build import build_model
from worker.engines.lightningdrag.checkpoint import ModelFolderError
from worker.engines.lightningdrag.config import DtypeName, ModelConfig
from worker.engines.lightningdrag.lora import Lora
from worker.engines.lightningdrag.text import token_ids
from worker.engines.lightningdrag.weights import WrongWeights, load, read_tensors

CPU = torch.device("cpu")
VAE = "sd-vae-ft-mse/diffusion_pytorch_model.safetensors"
UNET = "dreamshaper-8-inpainting/unet/diffusion_pytorch_model.safetensors"
LORA = "lcm-lora-sdv1-5/pytorch_lora_weights.safetensors"
POINTS = "lightning-drag-sd15/point_embedding/point_embedding.pt"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the tiny model that may be written to."""
    copy = tmp_path / "model"
    shutil.copytree(CHECKPOINTS, copy, copy_function=shutil.copyfile)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755)
    return copy


def vae_of(folder: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = build_model(ModelConfig(folder)).networks.vae.state_dict()
    return weights


def test_both_namings_of_the_vaes_attention_are_one(folder: Path) -> None:
    wanted = vae_of(folder)
    named = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    old = load_file(folder / VAE)
    assert any("query" in name for name in old)
    new = {}
    for name, tensor in old.items():
        for before, after in named.items():
            name = name.replace(f".{before}.", f".{after}.")  # noqa: PLW2901
        new[name] = tensor
    save_file(new, folder / VAE)
    found = vae_of(folder)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_the_vae_is_not_the_base_models_own() -> None:
    own = load_file(
        CHECKPOINTS / "dreamshaper-8-inpainting/vae/diffusion_pytorch_model.safetensors"
    )
    found = tiny_model().networks.vae.state_dict()["encoder.conv_in.weight"]
    assert not torch.allclose(found, own["encoder.conv_in.weight"].float(), atol=1e-3)


def test_a_vae_config_without_a_scaling_factor_means_the_usual_one() -> None:
    assert "scaling_factor" not in (CHECKPOINTS / "sd-vae-ft-mse/config.json").read_text()
    assert tiny_model().networks.vae.config["scaling_factor"] == 0.18215


def test_float16_files_are_loaded_as_what_is_wanted(folder: Path) -> None:
    save_file({n: t.half() for n, t in load_file(folder / VAE).items()}, folder / VAE)
    assert {tensor.dtype for tensor in vae_of(folder).values()} == {torch.float32}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_network_has_the_wanted_precision(folder: Path, dtype: str) -> None:
    model = build_model(ModelConfig(folder, dtype=dtype))
    found = {weight.dtype for _, network in model.networks for weight in network.parameters()}
    assert found == {getattr(torch, dtype)}


def test_the_width_of_the_point_embedding_is_read_from_its_file() -> None:
    assert tiny_model().networks.points.width == 2


def test_everything_that_is_wrong_is_said_at_once(folder: Path) -> None:
    vae = load_file(folder / VAE)
    vae["decoder.conv_in.bias"] = vae["decoder.conv_in.bias"][:3].clone()
    vae["stranger"] = vae.pop("decoder.conv_out.bias")
    save_file(vae, folder / VAE)
    unet = load_file(folder / UNET)
    del unet["conv_out.weight"]
    save_file(unet, folder / UNET)
    with pytest.raises(ModelFolderError) as refused:
        build_model(ModelConfig(folder))
    said = str(refused.value)
    assert len(refused.value.problems) == 4
    for part in (
        "decoder.conv_in.bias is (3,), not (16,)",
        "stranger is not a weight of this part",
        "decoder.conv_out.bias is missing",
        "unet: conv_out.weight is missing",
        "https://huggingface.co/stabilityai/sd-vae-ft-mse",
    ):
        assert part in said


def test_what_is_missing_and_what_is_wrong_are_said_in_one_error(folder: Path) -> None:
    (folder / VAE).unlink()
    (folder / "IP-Adapter/models/image_encoder/config.json").unlink()
    (folder / "dreamshaper-8-inpainting/text_encoder/config.json").write_text("<html>")
    (folder / UNET).write_bytes((folder / UNET).read_bytes()[:5000])
    torch.save([1], folder / POINTS)
    with pytest.raises(ModelFolderError) as refused:
        build_model(ModelConfig(folder))
    places = [problem.split("  ")[1].partition(" ")[0] for problem in refused.value.problems]
    assert places == [
        VAE,
        "IP-Adapter/models/image_encoder/config.json",
        "dreamshaper-8-inpainting/text_encoder:",
        "lightning-drag-sd15/point_embedding:",
        "dreamshaper-8-inpainting/unet:",
    ]
    assert all("https://huggingface.co/" in problem for problem in refused.value.problems)


def test_an_unet_without_the_masks_channels_is_refused(folder: Path) -> None:
    config = folder / "dreamshaper-8-inpainting/unet/config.json"
    config.write_text(config.read_text().replace('"in_channels": 9', '"in_channels": 4'))
    with pytest.raises(ModelFolderError, match="in_channels is 4, it must be 9"):
        build_model(ModelConfig(folder))


def test_a_scheduler_of_another_kind_is_refused(folder: Path) -> None:
    config = folder / "dreamshaper-8-inpainting/scheduler/scheduler_config.json"
    config.write_text(config.read_text().replace('"epsilon"', '"v_prediction"'))
    with pytest.raises(ModelFolderError, match="prediction_type"):
        build_model(ModelConfig(folder))


def test_a_config_that_is_no_json_is_refused_by_its_name(folder: Path) -> None:
    (folder / "sd-vae-ft-mse/config.json").write_text("<html>")
    with pytest.raises(ModelFolderError, match="sd-vae-ft-mse: JSONDecodeError"):
        build_model(ModelConfig(folder))


def test_a_point_embedding_without_its_first_convolution_is_refused(folder: Path) -> None:
    torch.save({"conv_out.weight": torch.zeros(1)}, folder / POINTS)
    with pytest.raises(ModelFolderError, match=r"conv_in\.weight is missing"):
        build_model(ModelConfig(folder))


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        ("dreamshaper-8-inpainting/unet", "attention_head_dim", 0),
        ("dreamshaper-8-inpainting/text_encoder", "hidden_act", "nope"),
        ("dreamshaper-8-inpainting/scheduler", "beta_start", "small"),
        ("sd-vae-ft-mse", "block_out_channels", None),
        ("IP-Adapter/models/image_encoder", "num_attention_heads", 0),
        ("lightning-drag-sd15/appearance_encoder", "down_block_types", ["Nope"] * 4),
    ],
)
def test_a_config_that_makes_no_network_is_refused_by_its_place(
    folder: Path, place: str, name: str, value: object
) -> None:
    (config,) = (folder / place).glob("*config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | {name: value}))
    with pytest.raises(ModelFolderError, match=f"  {place}: "):
        build_model(ModelConfig(folder))


@pytest.mark.parametrize(
    ("place", "name", "value", "said"),
    [
        ("dreamshaper-8-inpainting/unet", "center_input_sample", True, "must be False"),
        ("dreamshaper-8-inpainting/unet", "use_linear_projection", True, "must be False"),
        ("dreamshaper-8-inpainting/unet", "layers_per_block", 1, "not the sixteen"),
        ("dreamshaper-8-inpainting/text_encoder", "hidden_size", 64, "is 64, it must be 32"),
        ("dreamshaper-8-inpainting/text_encoder", "max_position_embeddings", 80, "must be 77"),
        ("lightning-drag-sd15/appearance_encoder", "cross_attention_dim", 64, "must be 32"),
        ("lightning-drag-sd15/appearance_encoder", "block_out_channels", [16, 24, 32, 64], "32"),
        ("IP-Adapter/models/image_encoder", "image_size", 336, "is 336, it must be 224"),
        ("sd-vae-ft-mse", "latent_channels", 8, "is 8, it must be 4"),
    ],
)
def test_networks_that_do_not_go_together_are_refused_by_the_place_of_the_odd_one(
    folder: Path, place: str, name: str, value: object, said: str
) -> None:
    (config,) = (folder / place).glob("*config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | {name: value}))
    with pytest.raises(ModelFolderError) as refused:
        build_model(ModelConfig(folder, device="meta"))
    first = refused.value.problems[0]
    assert first.startswith(f"  {place}: ")
    assert said in first


def test_a_vae_of_another_scale_is_refused(folder: Path) -> None:
    config = folder / "sd-vae-ft-mse/config.json"
    sizes = json.loads(config.read_text())
    names = ("block_out_channels", "down_block_types", "up_block_types")
    config.write_text(json.dumps(sizes | {name: sizes[name][:3] for name in names}))
    with pytest.raises(ModelFolderError, match="a latent is 4 pixels wide, not 8"):
        build_model(ModelConfig(folder, device="meta"))


def test_a_tokenizer_of_more_words_than_the_text_encoder_knows_is_refused(folder: Path) -> None:
    vocabulary = folder / "dreamshaper-8-inpainting/tokenizer/vocab.json"
    words = json.loads(vocabulary.read_text())
    vocabulary.write_text(json.dumps(words | {"stranger": len(words)}))
    with pytest.raises(ModelFolderError, match="545 words, of which the text encoder knows 544"):
        build_model(ModelConfig(folder, device="meta"))


def test_no_file_that_the_digest_leaves_out_changes_the_tokens(folder: Path) -> None:
    config = folder / "dreamshaper-8-inpainting/tokenizer/tokenizer_config.json"
    config.write_text(config.read_text().replace("<|endoftext|>", "!"))
    before, after = (build_model(ModelConfig(each)) for each in (CHECKPOINTS, folder))
    assert before.digest == after.digest
    for prompt in ("", "a cat!"):
        found, wanted = (token_ids(each.text.tokenizer, prompt) for each in (after, before))
        assert torch.equal(found, wanted)


def test_a_config_that_is_no_object_is_refused_and_asks_no_server(folder: Path) -> None:
    (folder / "dreamshaper-8-inpainting/unet/config.json").write_text("[]")
    with pytest.raises(ModelFolderError, match="is no JSON object"):
        build_model(ModelConfig(folder))


def test_a_tokenizer_that_cannot_be_made_is_refused(folder: Path) -> None:
    (folder / "dreamshaper-8-inpainting/tokenizer/vocab.json").write_text("{}")
    with pytest.raises(ModelFolderError, match="tokenizer: "):
        build_model(ModelConfig(folder))


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {"conv_in.weight": 3}])
def test_an_archive_of_something_else_than_named_tensors_is_refused(
    folder: Path, content: object
) -> None:
    torch.save(content, folder / POINTS)
    with pytest.raises(ModelFolderError, match="holds no tensors by name"):
        build_model(ModelConfig(folder))


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1"])
@pytest.mark.parametrize("file", [UNET, POINTS])
def test_a_pointer_in_place_of_a_file_is_refused(folder: Path, file: str, content: bytes) -> None:
    (folder / file).write_bytes(content)
    with pytest.raises(ModelFolderError, match="cannot be read"):
        build_model(ModelConfig(folder))


class _Harm:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("this must never be printed",))


def test_an_archive_that_runs_code_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / POINTS).write_bytes(pickle.dumps({"conv_in.weight": _Harm()}))
    with pytest.raises(ModelFolderError, match="cannot be read"):
        build_model(ModelConfig(folder))
    torch.save({"conv_in.weight": _Harm()}, folder / POINTS)
    with pytest.raises(ModelFolderError, match="cannot be read"):
        build_model(ModelConfig(folder))
    assert "never" not in capsys.readouterr().out


def test_a_truncated_file_is_refused_by_its_name(folder: Path) -> None:
    (folder / UNET).write_bytes((folder / UNET).read_bytes()[:5000])
    with pytest.raises(ModelFolderError, match=r"diffusion_pytorch_model.safetensors cannot be"):
        build_model(ModelConfig(folder))


@pytest.mark.parametrize(
    ("file", "value", "dtype", "device"),
    [
        (UNET, float("nan"), "float32", "cpu"),
        (VAE, float("inf"), "float32", "meta"),
        (LORA, float("nan"), "float32", "meta"),
        (UNET, 1e6, "float16", "cpu"),  # finite in the file alone
    ],
)
def test_weights_that_are_no_numbers_are_refused_when_they_are_loaded(
    folder: Path, file: str, value: float, dtype: DtypeName, device: str
) -> None:
    weights = load_file(folder / file)
    spoiled = next(name for name, tensor in weights.items() if tensor.dim() == 4)
    weights[spoiled].view(-1)[-1] = value
    save_file(weights, folder / file)
    with pytest.raises(ModelFolderError) as refused:
        build_model(ModelConfig(folder, dtype=dtype, device=device))
    (problem,) = refused.value.problems
    assert f"{spoiled} holds infinity or no number" in problem


def test_what_two_networks_say_of_one_file_is_said_once(folder: Path) -> None:
    (folder / "IP-Adapter/models/ip-adapter_sd15.bin").write_bytes(b"half")
    with pytest.raises(ModelFolderError) as refused:
        build_model(ModelConfig(folder))
    (problem,) = refused.value.problems
    assert "no whole torch archive" in problem


def test_the_lora_is_fused_in_single_precision_before_the_cast() -> None:
    lora = load_file(CHECKPOINTS / LORA)
    plain = load_file(CHECKPOINTS / UNET)
    for layer in ("down_blocks.0.resnets.0.conv1", "mid_block.attentions.0.proj_in"):
        key = f"lora_unet_{layer.replace('.', '_')}"
        up, down = (lora[f"{key}.lora_{kind}.weight"].float() for kind in ("up", "down"))
        change = torch.einsum("or,ri...->oi...", up.flatten(1), down)
        wanted = plain[f"{layer}.weight"] + lora[f"{key}.alpha"].float() / 4 * change
        found = tiny_model().networks.unet.get_parameter(f"{layer}.weight")
        torch.testing.assert_close(found, wanted)
        half = build_model(ModelConfig(CHECKPOINTS, dtype="float16")).networks.unet
        assert torch.equal(half.get_parameter(f"{layer}.weight"), found.half())


def test_every_layer_of_the_lora_is_fused_and_none_without_lcm() -> None:
    with init_empty_weights():
        lora = Lora(read_tensors(CHECKPOINTS / LORA), tiny_model().networks.unet)
    assert len(lora.layers) == 278
    plain = load_file(CHECKPOINTS / UNET)
    unfused = tiny_model("ddim").networks.unet.state_dict()
    assert all(torch.equal(unfused[name], plain[name]) for name in plain)


def test_a_lora_that_leaves_a_layer_as_it_was_or_does_not_fit_is_refused(folder: Path) -> None:
    lora = load_file(folder / LORA)
    absent, cut = "lora_unet_mid_block_resnets_0_conv1", "lora_unet_mid_block_resnets_0_conv2"
    save_file(
        {
            name: tensor[:1].clone() if name == f"{cut}.lora_down.weight" else tensor
            for name, tensor in lora.items()
            if not name.startswith(absent)
        },
        folder / LORA,
    )
    with pytest.raises(ModelFolderError) as refused:
        build_model(ModelConfig(folder))
    absent_said, cut_said = sorted(refused.value.problems)
    assert "mid_block.resnets.0.conv1.weight: not in the LoRA" in absent_said
    assert "mid_block.resnets.0.conv2.weight: the LoRA has another shape" in cut_said


def test_a_lora_for_another_network_is_refused() -> None:
    tensors = iter([("lora_unet_nowhere.lora_up.weight", torch.zeros(1))])
    with pytest.raises(WrongWeights, match="no such layer"):
        Lora(tensors, nn.Sequential(nn.Linear(2, 2)))
    tensors = iter([("lora_unet_0.lora_up.weight", torch.zeros(2, 1))])
    with pytest.raises(WrongWeights, match=r"no lora_down.weight"):
        Lora(tensors, nn.Sequential(nn.Linear(2, 2)))


def test_no_weight_is_held_twice_while_loading() -> None:
    with init_empty_weights():
        module = nn.Sequential(*(nn.Linear(4, 4) for _ in range(6)))
    alive: list[weakref.ref[Tensor]] = []

    def tensors() -> Iterator[tuple[str, Tensor]]:
        for name, empty in module.state_dict().items():
            assert sum(each() is not None for each in alive) <= 1
            tensor = torch.zeros(empty.shape, dtype=torch.float16)
            alive.append(weakref.ref(tensor))
            yield name, tensor
            del tensor

    load(module, tensors(), CPU, torch.float32)
    assert not any(weight.is_meta for weight in module.parameters())


def test_weights_do_not_hang_on_their_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"weight": torch.ones(3, 3), "bias": torch.ones(3)}, path)
    with init_empty_weights():
        module = nn.Linear(3, 3)
    load(module, read_tensors(path), CPU, torch.float32)
    path.write_bytes(bytes(path.stat().st_size))
    assert (module.weight == 1).all()
