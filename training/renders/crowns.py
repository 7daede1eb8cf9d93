"""Tiaras and coronets: a band, and the ornaments that stand on it."""

import math
from functools import partial

import numpy as np

from training.renders import shapes
from training.renders.piece import BACK, Piece, above, on

Place = tuple[float, float, float]


def _crown(p: Piece, *, full: bool) -> None:
    """Stand ornaments on a band; the front of a tiara is highest in the middle."""
    radius, back = (1.12, 0.0) if full else (1.35, 0.45)
    start, end = (0.0, 2 * math.pi) if full else (1.06 * math.pi, 1.94 * math.pi)
    tall = 0.26
    bar = shapes.band(radius, tall, 0.06, start=start, end=end)
    p.add(bar.placed((0, back, -0.86)), "engraved")
    for z in (-1.0, -0.72):
        edge = np.add(shapes.circle(radius + 0.03, 120, start, end), (0, back, z))
        p.beads(edge, 0.035) if p.design.filigree else p.wire(edge, 0.035)
    count = 16 if full else 11
    for i in range(count):
        a = start + (end - start) * (i + 0.5) / count
        x, y, _ = on(a, radius, 0)
        middle = 1 - abs(i - (count - 1) / 2) / ((count - 1) / 2)
        high = 0.75 if full else 0.5 + 0.65 * middle
        ORNAMENTS[p.design.form](p, (x, y + back, -0.72), (math.cos(a), math.sin(a), 0.15), i, high)
        if i % 2 == 0:
            out = (1.06 * x, 1.06 * y + back, -0.86)
            name = p.design.stone if p.design.form == "balls" else p.design.second_stone
            p.stone(out, 0.11, name, (math.cos(a), math.sin(a), 0.1), cut="round")


def _spike(p: Piece, at: Place, face: Place, i: int, high: float) -> None:
    foot = np.array(at)
    p.add(shapes.tube(foot + np.outer([0, 0.5, 1], [0, 0, high]), np.array([0.06, 0.045, 0.02]), 7))
    top = above(foot, high)
    if i % 2 == 0:
        p.stone(top, 0.15, face=face)
    else:
        p.bead(top, 0.075, "pearl")


def _arch(p: Piece, at: Place, face: Place, _i: int, high: float) -> None:
    axes = shapes.frame(face)
    a = np.linspace(0, math.pi, 16)
    bow = np.stack([0.2 * np.cos(a), 0.75 * high * np.sin(a), 0 * a], 1) @ axes.T + at
    p.wire(bow, 0.035)
    p.stone(above(at, 0.34 * high), 0.11, face=face)
    p.bead(above(at, 0.75 * high + 0.08), 0.07, "pearl")


def _curls(p: Piece, at: Place, face: Place, _i: int, high: float) -> None:
    axes = shapes.frame(face)
    for side in (-1, 1):
        path = shapes.scroll(0.30 * high, 1.2) * [side, 1, 1] + [side * 0.34 * high, 0.34 * high, 0]
        p.wire(path @ axes.T + at, 0.035)
    p.stone(above(at, 0.8 * high), 0.12, face=face)


def _ball(p: Piece, at: Place, _face: Place, i: int, high: float) -> None:
    foot = np.array(at)
    p.wire(foot + np.outer([0, 0.5, 1], [0, 0, 0.55 * high]), 0.045)
    p.bead(above(foot, 0.6 * high + 0.1), 0.15, "pearl" if i % 2 else "")


def _leaf(p: Piece, at: Place, face: Place, i: int, high: float) -> None:
    foot = np.array(at)
    p.wire(foot + np.outer([0, 0.5, 1], [0, 0, 0.45 * high]), 0.045)
    if i % 2 == 0:
        p.plate("trefoil", above(foot, 0.85 * high), 0.30, face)
        if face[1] < BACK:
            p.stone(above(foot + 0.05 * np.array(face), 0.85 * high), 0.12, face=face)
    else:
        p.bead(above(foot, 0.5 * high), 0.1, "pearl")


def _point(p: Piece, at: Place, face: Place, i: int, high: float) -> None:
    tall = high if i % 2 == 0 else 0.6 * high
    p.plate("lozenge", above(at, 0.5 * tall), 0.5 * tall, face, wide=0.75, dome=0.05)
    if i % 2 == 0 and face[1] < BACK:
        p.stone(above(at + 0.06 * np.array(face), 0.5 * tall), 0.12, face=face)


ORNAMENTS = {
    "spikes": _spike, "arches": _arch, "scrolls": _curls, "balls": _ball, "leaves": _leaf,
    "points": _point,
}  # fmt: skip


tiara = partial(_crown, full=False)
coronet = partial(_crown, full=True)
