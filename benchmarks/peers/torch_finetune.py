"""Measure a fine-tuning step of PyTorch, in its four settings: channels-last or not, bfloat16 or not.

    python benchmarks/peers/torch_finetune.py ResNet50 [--frozen-stages 0] [--size 224] [--batch 32] [--rounds 4]

The networks are those of keras.applications (ResNet50 has its strides in the 1x1 convolutions, which have biases). The
batch norms are frozen: they are in evaluation mode, and their weights are not trained. Prints one line of JSON: images
a second of each setting's fastest step. benchmarks/finetune_step.py starts this as a process of its own.
"""

import argparse
import json
import time

import torch
from torch import nn
from torch_baseline import DEVICE
from torch_train_step import Step, measure


class Bottleneck(nn.Module):
    """A residual block of ResNet50; with `shortcut`, a convolution replaces the identity."""

    def __init__(self, inputs: int, filters: int, stride: int, shortcut: bool) -> None:
        super().__init__()
        self.shortcut = nn.Sequential(*convolve(inputs, 4 * filters, 1, stride)) if shortcut else nn.Identity()
        self.body = nn.Sequential(
            *convolve(inputs, filters, 1, stride),
            nn.ReLU(inplace=True),
            *convolve(filters, filters, 3),
            nn.ReLU(inplace=True),
            *convolve(filters, 4 * filters, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output, (n, 4 * filters, height / stride, width / stride)."""
        return nn.functional.relu(self.body(x) + self.shortcut(x), inplace=True)


class InvertedResidual(nn.Module):
    """A block of MobileNetV2: expand by 1x1, filter each channel by 3x3, project by 1x1."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner, self.adds = inputs * expansion, stride == 1 and inputs == outputs
        expand = [*convolve(inputs, inner, 1, bias=False), nn.ReLU6(inplace=True)] if expansion > 1 else []
        self.body = nn.Sequential(
            *expand,
            *convolve(inner, inner, 3, stride, bias=False, groups=inner),
            nn.ReLU6(inplace=True),
            *convolve(inner, outputs, 1, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        return x + self.body(x) if self.adds else self.body(x)


def convolve(
    inputs: int, outputs: int, size: int, stride: int = 1, bias: bool = True, groups: int = 1
) -> list[nn.Module]:
    """Return a convolution and its batch norm."""
    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=bias, groups=groups)
    return [convolution, nn.BatchNorm2d(outputs)]


def build_resnet50() -> list[nn.Module]:
    """Return the stages of ResNet50, which begin at Keras' layers 0, 7, 39, 81 and 143."""
    stages: list[nn.Module] = [nn.Sequential(*convolve(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))]
    inputs = 64
    for filters, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        blocks = [Bottleneck(inputs, filters, stride, shortcut=True)]
        inputs = 4 * filters
        blocks += [Bottleneck(inputs, filters, 1, shortcut=False) for _ in range(count - 1)]
        stages.append(nn.Sequential(*blocks))
    return stages


def build_mobilenet_v2() -> list[nn.Module]:
    """Return MobileNetV2 as one stage."""
    layers: list[nn.Module] = [*convolve(3, 32, 3, 2, bias=False), nn.ReLU6(inplace=True)]
    inputs = 32
    for expansion, outputs, count, first_stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for index in range(count):
            layers.append(InvertedResidual(inputs, outputs, 1 if index else first_stride, expansion))
            inputs = outputs
    return [nn.Sequential(*layers, *convolve(320, 1280, 1, bias=False), nn.ReLU6(inplace=True))]


NETWORKS = {"ResNet50": (build_resnet50, 2048), "MobileNetV2": (build_mobilenet_v2, 1280)}


def build_network(name: str, frozen_stages: int, num_classes: int) -> nn.Module:
    """Build a backbone with frozen batch norms and first stages, and a head that is trained."""
    build, features = NETWORKS[name]
    stages = build()
    model = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, num_classes))
    frozen = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)] + stages[:frozen_stages]
    for module in frozen:
        module.requires_grad_(requires_grad=False)
    return model.eval()


def build_step(options: argparse.Namespace, channels_last: bool, bf16: bool) -> Step:
    """Return a function that takes one training step in a setting, on one batch of random images."""
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = build_network(options.network, options.frozen_stages, options.classes).to(DEVICE, memory_format=layout)
    images = torch.rand(options.batch, 3, options.size, options.size, device=DEVICE) * 2 - 1
    images = images.contiguous(memory_format=layout)
    labels = torch.randint(options.classes, (options.batch,), device=DEVICE)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-5, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=bf16):
            loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--frozen-stages", type=int, default=0, help="stages that are not trained, from the first on")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32, help="images of a training step")
    parser.add_argument("--classes", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=4, help="how often each step is measured")
    parser.add_argument("--float32", action="store_true", help="leave bfloat16 out, where the processor has none")
    parser.add_argument("--one-core", action="store_true", help="measure CPU time of one thread, on a busy machine")
    options = parser.parse_args()
    if options.one_core:
        torch.set_num_threads(1)
    steps = {
        "PyTorch" + " channels-last" * channels_last + " bfloat16" * bf16: build_step(options, channels_last, bf16)
        for channels_last in (False, True)
        for bf16 in ((False,) if options.float32 else (False, True))
    }
    measured = measure(steps, options.rounds, time.process_time if options.one_core else time.perf_counter)
    print(json.dumps({label: options.batch / seconds for label, seconds in measured.items()}))


if __name__ == "__main__":
    main()
