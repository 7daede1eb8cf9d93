"""Meshes of jewellery in numpy: wires, bands, plates, beads and cut stones, written as PLY.

Lengths are the scene's (a ring is two units high). Texture coordinates run along a surface in
units of its own width, so that one engraved pattern is as wide as the band that it adorns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

Array = NDArray[np.float64]
Vector = Sequence[float] | Array
CREASE = 1e-9
GIRDLE = 0.035


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """Hold corners (N, 3) with normals (N, 3) and texture coordinates (N, 2); faces (M, 3)."""

    points: Array
    normals: Array
    uv: Array
    faces: NDArray[np.int32]

    def placed(self, at: Vector, axes: Array | None = None) -> "Mesh":
        """Turn by the columns of `axes` (which may scale evenly), then move to `at`."""
        axes = np.eye(3) if axes is None else axes
        scale = np.linalg.norm(axes[:, 0])
        return Mesh(
            points=self.points @ axes.T + np.asarray(at, float),
            normals=self.normals @ axes.T / scale,
            uv=self.uv,
            faces=self.faces,
        )


def joined(meshes: Sequence[Mesh]) -> Mesh:
    starts = np.cumsum([0, *(len(mesh.points) for mesh in meshes[:-1])])
    return Mesh(
        points=np.concatenate([mesh.points for mesh in meshes]),
        normals=np.concatenate([mesh.normals for mesh in meshes]),
        uv=np.concatenate([mesh.uv for mesh in meshes]),
        faces=np.concatenate([m.faces + s for m, s in zip(meshes, starts, strict=True)]),
    )


def write_ply(mesh: Mesh, path: Path) -> None:
    """Write little-endian PLY with the property names that Mitsuba reads."""
    names = ("x", "y", "z", "nx", "ny", "nz", "u", "v")
    corners = np.concatenate([mesh.points, mesh.normals, mesh.uv], 1).astype("<f4")
    faces = np.empty(len(mesh.faces), [("n", "u1"), ("i", "<i4", 3)])
    faces["n"], faces["i"] = 3, mesh.faces
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(corners)}"]
    header += [f"property float {name}" for name in names]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    text = "\n".join([*header, "end_header\n"])
    path.write_bytes(text.encode() + corners.tobytes() + faces.tobytes())


def frame(face: Vector, up: Vector = (0, 0, 1)) -> Array:
    """Give axes whose third column looks along `face` and whose second leans to `up`."""
    out = np.asarray(face, float) / np.linalg.norm(face)
    aside = np.cross(up, out)
    if np.linalg.norm(aside) < 0.05:
        aside = np.cross((0, 1, 0), out)
    aside /= np.linalg.norm(aside)
    return np.stack([aside, np.cross(out, aside), out], 1)


def grid(points: Array, uv: Array, closed: tuple[bool, bool] = (False, False)) -> Mesh:
    """Span a smooth surface over points (U, V, 3); a closed side repeats its first row as its last."""
    normals = np.cross(along(points, 0, closed[0]), along(points, 1, closed[1]))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + CREASE
    index = np.arange(points.shape[0] * points.shape[1], dtype=np.int32).reshape(points.shape[:2])
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    faces = np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)]).reshape(-1, 3)
    return Mesh(
        points=points.reshape(-1, 3), normals=normals.reshape(-1, 3),
        uv=uv.reshape(-1, 2), faces=faces,
    )  # fmt: skip


def along(points: Array, axis: int, closed: bool) -> Array:
    found: Array = np.gradient(points, axis=axis)
    if closed:
        moved, ends = np.moveaxis(found, axis, 0), np.moveaxis(points, axis, 0)
        moved[0] = moved[-1] = (ends[1] - ends[-2]) / 2
    return found


def tube(path: Array, radius: float | Array, sides: int = 8, closed: bool = False) -> Mesh:
    """Draw a wire along a path (N, 3), of one radius or of one at each point."""
    radii = np.broadcast_to(np.asarray(radius, float), len(path))
    ahead = along(path, 0, closed)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True) + CREASE
    aside = frame(ahead[0])[:, 0]
    angles = np.linspace(2 * np.pi, 0, sides + 1)
    rows = []
    for point, forward, r in zip(path, ahead, radii, strict=True):
        aside = aside - forward * (aside @ forward)  # carried along, so that nothing twists
        aside /= np.linalg.norm(aside)
        other = np.cross(forward, aside)
        circle = np.outer(np.cos(angles), aside) + np.outer(np.sin(angles), other)
        rows.append(point + r * circle)
    far = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    uv = np.stack(np.meshgrid(far / (6 * radii.max()), angles / np.pi, indexing="ij"), -1)
    return grid(np.stack(rows), uv, (closed, True))


def circle(radius: float, count: int = 48, start: float = 0.0, end: float = 2 * np.pi) -> Array:
    """Place points on a circle in the plane of x and y, both ends among them."""
    angles = np.linspace(start, end, count + 1)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles), 0 * angles], 1)


def band(
    radius: float, height: float, thick: float, *, start: float = 0.0, end: float = 2 * np.pi
) -> Mesh:
    """Bend a hoop of flat section around z: its outer face bears one height of the pattern."""
    t = np.linspace(-1, 1, 9)
    outer = np.stack([radius + 0.3 * thick * (1 - t**2), t * height / 2], 1)
    corner = np.array([[-0.3, 0.04], [-0.85, 0.04], [-1.0, 0.0]]) * [thick, height]
    top = np.add(corner, (radius, height / 2))
    section = np.concatenate([outer, top, top[::-1] * [1, -1], outer[:1]])
    angles = np.linspace(start, end, 97)
    across = np.concatenate([(t + 1) / 2, np.linspace(1.1, 2, len(section) - 9)])
    uv = np.stack(np.meshgrid(angles * radius / height, across, indexing="ij"), -1)
    return grid(turned(angles, *section.T), uv, (end - start > 6.28, True))


def turned(angles: Array, radii: Array, heights: Array) -> Array:
    """Turn a profile (N) around z: points (angles, N, 3)."""
    x, y = np.outer(np.cos(angles), radii), np.outer(np.sin(angles), radii)
    return np.stack([x, y, np.broadcast_to(heights, x.shape)], -1)


def outline(shape: str, count: int = 16) -> Array:
    """Draw the girdle of a cut or the rim of a plate, (N, 2), about one unit in radius."""
    a = np.linspace(0, 2 * np.pi, count, endpoint=False) + np.pi / count
    x, y = np.cos(a), np.sin(a)
    if shape in CORNERS:
        sides, turn, wide = CORNERS[shape]
        a = 2 * np.pi * np.arange(sides) / sides + turn
        return np.stack([wide * np.cos(a), np.sin(a)], 1)
    if shape == "oval":
        return np.stack([0.76 * x, y], 1)
    if shape == "pear":
        return np.stack([0.72 * x * (1 - 0.55 * np.maximum(y, 0) ** 1.5), 1.05 * y], 1)
    if shape == "marquise":
        return np.stack([0.5 * x * np.abs(x) ** 0.45, 1.15 * y], 1)
    if shape == "octagon":
        w, h, cut = 0.72, 1.0, 0.26
        corners = [(w, h - cut), (w - cut, h), (cut - w, h), (-w, h - cut)]
        return np.array([*corners, *((-u, -v) for u, v in corners)])
    if shape == "square":
        size = np.maximum(np.abs(x), np.abs(y))
        return np.stack([x, y], 1) / (0.55 * size + 0.5)[:, None]
    if shape in PETALS:
        lobes, depth = PETALS[shape]
        a = np.linspace(0, 2 * np.pi, 12 * lobes, endpoint=False)
        r = 1 - depth * (0.5 - 0.5 * np.cos(lobes * a))
        return np.stack([r * np.sin(a), r * np.cos(a)], 1)
    return np.stack([x, y], 1)


CORNERS = {
    "hexagon": (6, 0.0, 0.9), "lozenge": (4, 0.0, 0.72), "panel": (4, np.pi / 4, 0.8),
    "eight": (8, np.pi / 8, 0.95),
}  # fmt: skip
PETALS = {"flower": (6, 0.42), "star": (8, 0.55), "trefoil": (3, 0.36), "cross": (4, 0.62)}


def fine(rim: Array, count: int = 96) -> Array:
    """Space a rim of many points evenly: straight sides need them for their bevels."""
    closed = np.concatenate([rim, rim[:1]])
    far = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    places = np.linspace(0, far[-1], count + 1)
    return np.stack([np.interp(places, far, closed[:, k]) for k in (0, 1)], 1)


def rings(rim: Array, scales: Array, depth: Array) -> Array:
    """Repeat a rim (N, 2) at each scale, and at its depth: points (N, scales, 3)."""
    flat = rim[:, None, :] * scales[:, None]
    return np.concatenate([flat, np.broadcast_to(depth[:, None], (*flat.shape[:2], 1))], -1)


def plate(rim: Array, thick: float, dome: float = 0.0) -> Mesh:
    """Cut a plaque in the plane of x and y with bevelled edges, its face towards +z."""
    rim = fine(rim)
    size = np.abs(rim).max()
    inset = 1 - 0.6 * thick / size
    scales = np.array([0.0, 0.3, 0.6, 0.8, inset, (1 + inset) / 2, 1.0, 1.0, 0.9])
    depth = np.array([0, 0, 0, 0, 0, -0.15, -0.5, -1.0, -1.0]) * thick
    depth[:5] += dome * (1 - (scales[:5] / inset) ** 2)
    points = rings(rim, scales, depth)[::-1]  # turned, so that +z is outside
    mesh = grid(points, points[..., :2] / size, (True, False))
    mesh.normals[:: len(scales)] = (0, 0, 1)  # the middle, where all rows meet
    return mesh


def bead(around: int = 14) -> Mesh:
    """Make a ball of unit radius."""
    a = np.linspace(0, 2 * np.pi, around + 1)
    b = np.linspace(-np.pi / 2, np.pi / 2, around // 2 + 2)
    ball = turned(a, np.cos(b), np.sin(b))
    uv = np.stack(np.meshgrid(a / np.pi, b / np.pi, indexing="ij"), -1)
    made = grid(ball, uv, (True, False))
    made.normals[:] = ball.reshape(-1, 3)
    return made


def cabochon(shape: str) -> Mesh:
    rim = fine(outline(shape, 32), 40)
    rise = np.linspace(0, np.pi / 2, 8)
    points = rings(rim, np.cos(rise), 0.55 * np.sin(rise))
    mesh = grid(points, points[..., :2], (True, False))
    mesh.normals[len(rise) - 1 :: len(rise)] = (0, 0, 1)
    return mesh


LEVELS = {  # how far in and how high the rings of facets lie, in girdle radii
    "brilliant": ((0.80, 0.21), (0.56, 0.34), (0.55, -0.32), (0.02, -0.58)),
    "step": ((0.86, 0.17), (0.66, 0.27), (0.74, -0.20), (0.44, -0.40), (0.04, -0.52)),
    "rose": ((0.72, 0.30), (0.36, 0.48), (0.01, 0.54)),
}
STEPPED = ("octagon", "square")


def cut_stone(shape: str, cut: str = "brilliant", sides: int = 12) -> Mesh:
    """Facet a stone, table up: the convex hull of rings of corners, each facet flat."""
    rim = outline(shape, sides)
    turned = outline(shape, 2 * sides)[1::2] if shape not in STEPPED else rim
    corners = [(*p, side) for p in rim for side in (GIRDLE, -GIRDLE)]
    for place, (scale, z) in enumerate(LEVELS["step" if shape in STEPPED else cut]):
        ring = rim if place % 2 or shape in STEPPED else turned
        corners += [(*(scale * p), z) for p in ring]
    points = np.array(corners)
    hull = ConvexHull(points)
    faces = points[hull.simplices]
    normals = hull.equations[:, :3]
    flipped = np.einsum("ij,ij->i", np.cross(*(faces[:, k] - faces[:, 0] for k in (1, 2))), normals)
    faces[flipped < 0] = faces[flipped < 0][:, ::-1]
    flat = faces.reshape(-1, 3)
    index = np.arange(len(flat), dtype=np.int32).reshape(-1, 3)
    return Mesh(points=flat, normals=np.repeat(normals, 3, 0), uv=flat[:, :2], faces=index)


def scroll(size: float, turns: float = 1.4, count: int = 26) -> Array:
    a = np.linspace(0, turns * 2 * np.pi, count)
    r = size * (1 - 0.86 * a / a[-1])
    return np.stack([r * np.cos(a) - size, r * np.sin(a), 0 * a], 1)


def helix(path: Array, width: float, turns: float, phase: float, closed: bool) -> Array:
    """Wind a path around another: two of them are a rope."""
    ahead = along(path, 0, closed)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    first = np.stack([frame(a)[:, 0] for a in ahead])
    second = np.cross(ahead, first)
    angle = np.linspace(0, 2 * np.pi * turns, len(path))[:, None] + phase
    return path + width * (np.cos(angle) * first + np.sin(angle) * second)
