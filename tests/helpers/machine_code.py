"""Hopper's machine code of a kernel: whether a register is written while a product still reads it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import triton

PRODUCT = re.compile(r"HGMMA\S* R\d+, R(\d+), gdesc")
"""A product whose left operand is in four registers."""

WAIT = re.compile(r"WARPGROUP\.DEPBAR\.LE gsb0, 0x(\w+)")
"""The wait until at most so many groups of products are unfinished; ``gsb0`` on a product ends a group."""

WRITTEN = re.compile(r"[A-Z]\S* (?:U?P\w+, )*R(\d+)\b")
NO_REGISTER_WRITTEN = re.compile(r"ST|RED|BAR|BRA|LDGSTS|R2UR|EXIT")


def instructions(ptx: str) -> Iterator[tuple[str, str]]:
    """Label, or nothing, and text of each instruction, as assembled by Triton's assembler for Hopper."""
    with TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        assembler = Path(triton.knobs.nvidia.ptxas.path)
        subprocess.run([assembler, "-arch=sm_90a", source, "-o", f"{source}.cubin"], check=True, capture_output=True)
        command = [assembler.with_name("nvdisasm"), f"{source}.cubin"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    label = ""
    for line in text.splitlines():
        if named := re.match(r"(\.L_x_\d+):", line.strip()):
            label = named[1]
        elif found := re.match(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?(.*?)\s*;", line.strip()):
            yield label, found[1]
            label = ""


def overwritten_operands(code: Sequence[tuple[str, str]]) -> tuple[int, list[str]]:
    """The number of products with operands in registers, and what writes to such a register too early.

    Every loop is followed twice, since an instruction at its start may meet a product at its end.
    """
    at = {label: number for number, (label, _) in enumerate(code) if label}
    products, early, unfinished, group = 0, [], [], set[int]()
    number, repeated = 0, set()
    while number < len(code):
        text = code[number][1]
        if product := PRODUCT.match(text):
            products += 1
            group |= {*range(int(product[1]), int(product[1]) + 4)}
        elif wait := WAIT.match(text):
            unfinished = unfinished[max(0, len(unfinished) - int(wait[1], 16)) :]
        elif (written := WRITTEN.match(text)) and not NO_REGISTER_WRITTEN.match(text):
            width = 4 if re.match(r"LDSM\S*\.4|\S*\.128", text) else 2 if re.match(r"\S*\.(64|WIDE)", text) else 1
            if {*range(int(written[1]), int(written[1]) + width)} & set().union(group, *unfinished):
                early.append(text)
        if text.startswith("HGMMA") and "gsb0" in text:
            unfinished, group = [*unfinished, group], set()
        back = re.match(r"BRA.*`\((\.L_x_\d+)\)", text)
        if back and at.get(back[1], len(code)) <= number and number not in repeated:
            repeated.add(number)
            number = at[back[1]]
        else:
            number += 1
    return products, early
