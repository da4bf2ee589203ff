"""Section `parity`: the device against the CPU in strict float32, from whole gradients down to counts."""

import torch
from torch import Tensor, nn

from gpu_sections.harness import Record, Scale
from gpu_sections.trainings import (
    CLASSES,
    IGNORE,
    METHODS,
    made_up_step,
    make_steps,
    network_of,
    set_up,
    train_parameters,
)
from pipeline.networks.normalise import normalise
from pipeline.numerics.aggregation import aggregate_cosine, aggregate_kl
from pipeline.numerics.association import Metric, cycle_association, pooled_mean
from pipeline.numerics.confusion import confusion_counts
from pipeline.numerics.entropy import entropy_map
from pipeline.numerics.thresholds import (
    BINS,
    ThresholdRule,
    count_high,
    count_low,
    locate,
    pseudo_label,
    thresholds,
)
from pipeline.numerics.winner import winner

ULP = 2.0**-23
CPU = torch.device("cpu")


def parity(record: Record, scale: Scale) -> None:
    """Compare gradients, associations, thresholds and maps of the device with those of the CPU."""
    set_up("exact", scale)
    for metric in ("cos", "kl"):
        record.attempt(f"association {metric}", lambda metric=metric: association(metric, scale))
    record.attempt("thresholds", lambda: threshold_tables(scale))
    record.attempt("counts", lambda: counts(scale))
    for network in ("small", "mobilenet-frozen"):
        record.attempt(f"maps {network}", lambda network=network: maps(network, scale))
        for method in METHODS:
            record.attempt(
                f"gradient {network} {method}",
                lambda network=network, method=method: gradients(network, method, scale),
            )


def relative(found: Tensor, wanted: Tensor) -> float:
    """||found - wanted|| / ||wanted||, in float64."""
    found, wanted = found.detach().cpu().double(), wanted.detach().cpu().double()
    return float((found - wanted).norm() / wanted.norm().clamp(min=1e-300))


def gradients(network: str, method: str, scale: Scale) -> dict[str, float]:
    """One step's gradient; `one_ulp` is how far it moves on the CPU when each weight moves by a last bit."""
    wanted = gradient_on(CPU, network, method, scale, shift=0.0)
    moved = gradient_on(CPU, network, method, scale, shift=ULP)
    found = gradient_on(scale.device, network, method, scale, shift=0.0)
    values = {name: relative(found[name], wanted[name]) for name in wanted}
    return {**values, "one_ulp": relative(moved["network"], wanted["network"])}


def gradient_on(
    device: torch.device, network: str, method: str, scale: Scale, shift: float
) -> dict[str, Tensor]:
    """The gradient by module, flattened; weights are first moved by `shift` times their size, up or down."""
    parameters = train_parameters(method, "float32", steps=2)
    model = network_of(network)
    move(model, shift)
    sizes = {"source": scale.crop, "target": scale.crop}
    steps = make_steps(model, parameters, sizes, device)
    steps.gradient()
    return {
        name: torch.cat([tensor.grad.flatten().cpu() for tensor in tensors if tensor.grad is not None])
        for name, tensors in steps.runner.trained.items()
        if tensors
    }


def move(model: nn.Module, shift: float) -> None:
    """Move every weight by `shift` times its size, by chance up or down."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in model.parameters():
            signs = torch.randint(0, 2, tensor.shape, generator=generator) * 2 - 1
            tensor.add_(tensor * signs * shift)


def association(metric: Metric, scale: Scale) -> dict[str, float]:
    """Value and gradients of one pair's association, target aggregated first."""
    wanted = association_on(CPU, metric, scale)
    found = association_on(scale.device, metric, scale)
    names = ("value", "closed", "source_gradient", "target_gradient")
    return {name: relative(a, b) for name, a, b in zip(names, found, wanted, strict=True)}


def association_on(device: torch.device, metric: Metric, scale: Scale) -> tuple[Tensor, ...]:
    """Cost, closed cycles and both gradients of rows in which a class has a direction."""
    generator = torch.Generator().manual_seed(0)
    side = min(scale.grid, 46)
    channels = scale.channels if metric == "cos" else CLASSES
    centres = torch.randn(CLASSES, channels, generator=generator)
    rows, classes = [], []
    for _ in range(2):
        own = torch.randint(0, CLASSES, (side * side,), generator=generator)
        made = centres[own] + 2.0 * torch.randn(side * side, channels, generator=generator)
        made = made if metric == "cos" else made.softmax(dim=1)
        rows.append(made.to(device).requires_grad_())
        classes.append(own.to(device))
    aggregate = aggregate_cosine if metric == "cos" else aggregate_kl
    loss = cycle_association(rows[0], aggregate(rows[1], 0.5), classes[0], metric)
    value = pooled_mean([loss])
    value.backward()
    return value, loss.count, rows[0].grad, rows[1].grad  # type: ignore[return-value]


def threshold_tables(scale: Scale) -> dict[str, object]:
    """Thresholds and pseudo-labels of the same scores: equal to the bit on every device."""
    width, height = scale.target
    logits = 3.0 * torch.randn(2, CLASSES, height, width, generator=torch.Generator().manual_seed(0))
    scores = logits.softmax(dim=1)
    wanted, found = (thresholds_on(device, scores) for device in (CPU, scale.device))
    return {
        "values_equal": torch.equal(found[0], wanted[0]),
        "labels_equal": torch.equal(found[1], wanted[1]),
        "labelled_share": float((wanted[1] != IGNORE).double().mean()),
    }


def thresholds_on(device: torch.device, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Both passes and the label pass over the images of `scores` (B, K, H, W)."""
    rule = ThresholdRule(CLASSES, portion=0.2)
    images = scores.to(device)
    high, low = (torch.zeros((rule.rows, BINS), dtype=torch.int64, device=device) for _ in range(2))
    for image in images:
        count_high(high, *winner(image), rule)
    ranks = locate(high, rule)
    for image in images:
        count_low(low, *winner(image), rule, ranks)
    found = thresholds(ranks, low, rule)
    labels = torch.stack([pseudo_label(image, found.values.to(device)) for image in images])
    return found.values, labels.cpu()


def counts(scale: Scale) -> dict[str, object]:
    """Entropy, argmax and confusion of the same logits."""
    width, height = scale.target
    generator = torch.Generator().manual_seed(0)
    logits = 3.0 * torch.randn(1, CLASSES, height, width, generator=generator)
    labels = torch.randint(0, CLASSES + 1, (1, height, width), generator=generator)
    there = logits.to(scale.device)
    classes, classes_there = winner(logits)[1], winner(there)[1]
    wanted = confusion_counts(classes, labels, CLASSES)
    found = confusion_counts(classes_there, labels.to(scale.device), CLASSES)
    return {
        "entropy": relative(entropy_map(there), entropy_map(logits)),
        "argmax_equal": torch.equal(classes_there.cpu(), classes),
        "confusion_equal": torch.equal(found.cpu(), wanted),
    }


def maps(name: str, scale: Scale) -> dict[str, object]:
    """Logits of a network in evaluation at picture size: difference, share of other classes, ranking."""
    parameters = train_parameters("supervised", "float32", steps=1, batch=4)
    images = made_up_step(parameters, {"source": scale.target, "target": scale.target}, pin=False)[
        "source"
    ].images
    wanted, found = (logits_on(device, name, images) for device in (CPU, scale.device))
    entropy = [entropy_map(logits).flatten(1).double().mean(dim=1) for logits in (found, wanted)]
    other = found.argmax(dim=1) != wanted.argmax(dim=1)
    return {
        "logits": relative(found, wanted),
        "other_classes": float(other.double().mean()),
        "image_entropy": relative(*entropy),
        "same_order": torch.equal(entropy[0].argsort(), entropy[1].argsort()),
    }


@torch.inference_mode()
def logits_on(device: torch.device, name: str, images: Tensor) -> Tensor:
    """Logits at the images' size, brought to the CPU."""
    network = network_of(name).to(device).eval()
    output = network(normalise(images.to(device), network.profile))
    return network.upsample(output.main, images.shape[-2:]).cpu()
