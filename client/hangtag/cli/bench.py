"""`hangtag bench`: steps of load, one line each."""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Callable, Iterator

from ..client import Client
from ..errors import InvalidInput
from . import inputs, load
from .load import Step

_MOST_CALLERS = 10_000  # a thread each
_HIGHEST_RATE = 1_000_000


def bench(arguments: argparse.Namespace, connect: Callable[[int], Client]) -> int:
    """Run the command; returns 0 if anything was answered, else 1."""
    callers = _numbers(arguments.concurrency, "--concurrency", _MOST_CALLERS)
    rates = _numbers(arguments.rate, "--rate", _HIGHEST_RATE) if arguments.rate else []
    if any(number != int(number) for number in callers):
        raise InvalidInput("--concurrency counts callers: give whole numbers")
    if rates and len(callers) > 1:
        callers = [max(callers)]
    if arguments.batch_size < 1:
        raise InvalidInput(f"--batch-size is {arguments.batch_size}: give 1 or more")
    longest = threading.TIMEOUT_MAX
    if not (0 < arguments.duration <= longest and 0 <= arguments.warm_up <= longest):  # NaN is refused too
        raise InvalidInput("--duration must be seconds over 0, --warm-up 0 or more, and neither without end")
    answered = 0
    with connect(int(max(callers))) as client:
        steps = _steps(arguments, client, [int(number) for number in callers], rates)
        if arguments.json:
            for step in steps:
                answered += step.requests
                print(json.dumps(step.to_dict()), flush=True)
        else:
            counted: list[Step] = []
            for line in load.table(_noted(steps, counted)):
                print(line, flush=True)
            answered = sum(step.requests for step in counted)
    return 0 if answered else 1


def _noted(steps: Iterator[Step], counted: list[Step]) -> Iterator[Step]:
    for step in steps:
        counted.append(step)
        yield step


def _steps(arguments: argparse.Namespace, client: Client, callers: list[int], rates: list[float]) -> Iterator[Step]:
    model = client.metadata()  # a server that is not there is said at once
    count = arguments.batch_size
    if arguments.images:
        found = inputs.find([arguments.images])
        images = next((item for source in found for item in source.items(0)), None)
        if not isinstance(found[0], inputs.Array) or images is None or len(images) < count:
            raise InvalidInput(f"{arguments.images} does not hold {count} images in one array")
        images = images[:count]
    else:
        images = load.made_up_images(model, "serving_default", count)

    def send() -> object:
        return client.classify(images)

    send()  # refuses what cannot be sent, and asks for the class names, which no step should pay for
    if arguments.warm_up:
        load.closed_loop(send, concurrency=callers[0], seconds=arguments.warm_up, images=count)
    for rate in rates:
        yield load.open_loop(send, rate=rate, concurrency=callers[0], seconds=arguments.duration, images=count)
    for number in callers if not rates else []:
        yield load.closed_loop(send, concurrency=number, seconds=arguments.duration, images=count)


def _numbers(text: str, flag: str, most: float) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 < number <= most for number in numbers):  # NaN is refused too
        raise InvalidInput(f"{flag} is {text!r}: give numbers over 0 and up to {most:,}, separated by commas")
    return numbers
