"""The parts of a map: projection, clusters, names, neighbourhood, colours and the picture."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest

from conduit_lab.core.spec import FloatArray
from conduit_lab.core.views.indexed_png import indexed_png
from conduit_lab.vectors.explore import neighbourhood
from conduit_lab.vectors.explore.cluster_names import cluster_names
from conduit_lab.vectors.explore.clusters import Clusters, k_means
from conduit_lab.vectors.explore.coloring import (
    MISSING_CODE,
    REST,
    by_cluster,
    by_field,
    colour_fields,
)
from conduit_lab.vectors.explore.map_picture import frame_of, label_places, map_picture
from conduit_lab.vectors.explore.neighbourhood import find_neighbourhood
from conduit_lab.vectors.explore.projection import principal_directions
from conduit_lab.vectors.explore.sample import VectorScale


def blobs(count: int, groups: int, dimension: int = 16, spread: float = 0.05) -> FloatArray:
    """Rows around `groups` distant centres, cyclically."""
    random = np.random.default_rng(3)
    centres = random.standard_normal((groups, dimension)) * 3
    rows = centres[np.arange(count) % groups]
    rows += spread * random.standard_normal((count, dimension))
    return rows.astype(np.float32)


def decoded(file: bytes) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return the values and the palette of a PNG file that `indexed_png` wrote."""
    assert file[:8] == b"\x89PNG\r\n\x1a\n"
    parts, at = {}, 8
    while at < len(file):
        (length,) = struct.unpack(">I", file[at : at + 4])
        kind, data = file[at + 4 : at + 8], file[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack(">I", file[at + 8 + length : at + 12 + length])
        assert checksum == zlib.crc32(kind + data)
        parts[kind] = data
        at += 12 + length
    width, height = struct.unpack(">II", parts[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(height, width + 1)
    colors = np.frombuffer(parts[b"PLTE"], np.uint8).reshape(-1, 3)
    alphas = np.frombuffer(parts[b"tRNS"], np.uint8)[:, np.newaxis]
    return lines[:, 1:], np.hstack([colors, alphas])


def test_the_first_directions_are_those_of_the_singular_value_decomposition() -> None:
    rows = blobs(500, 5, 48, 0.3)
    axes = principal_directions(rows)
    centred = (rows - rows.mean(axis=0)).astype(np.float64)
    _, values, expected = np.linalg.svd(centred, full_matrices=False)
    for ours, theirs in zip(axes.directions[:3], expected[:3], strict=True):
        assert abs(float(ours @ theirs)) == pytest.approx(1, abs=1e-3)
    shares = values**2 / (values**2).sum()
    np.testing.assert_allclose(axes.shares[:3], shares[:3], rtol=1e-3)
    np.testing.assert_allclose(axes(rows).mean(axis=0), 0, atol=1e-4)


def test_scaled_vectors_keep_the_order_of_lengths_that_a_dot_product_compares() -> None:
    rows = np.array([[1, 0], [2, 0], [4, 0], [1e20, 0], [1e-25, 0]], np.float32)
    scaled = VectorScale(rows, "dot")(rows)[:, 0]
    assert scaled.argsort().tolist() == [4, 0, 1, 2, 3]
    assert scaled[1] == pytest.approx(1)
    assert scaled[3] == pytest.approx(32)
    np.testing.assert_allclose(VectorScale(rows, "cosine")(rows)[:, 0], 1, rtol=1e-5)


def test_k_means_finds_far_groups_and_orders_them_by_size() -> None:
    rows = blobs(120, 3)
    rows = np.concatenate([rows, rows[::3]])
    found = k_means(rows, 3)
    assert found.sizes.tolist() == sorted(found.sizes.tolist(), reverse=True)
    truth = np.concatenate([np.arange(120) % 3, np.zeros(40, np.int64)])
    for group in range(3):
        assert len(np.unique(found.labels[truth == group])) == 1
    assert found.sizes.tolist() == [80, 40, 40]


def test_fewer_distinct_points_make_fewer_clusters() -> None:
    rows = np.repeat(np.eye(2, dtype=np.float32), 10, axis=0)
    assert k_means(rows, 7).sizes.tolist() == [10, 10]


def test_a_cluster_is_named_by_its_own_words() -> None:
    texts = [
        ["The kettle boils water in the house.", "A kettle with limescale in the house."] * 3,
        ["The parcel arrives in the house.", "Your parcel is late in the house."] * 3,
    ]
    first, second = cluster_names(texts, [[{}] * 6, [{}] * 6])
    assert first.split(" · ")[0] == "kettle"
    assert second.split(" · ")[0] == "parcel"
    assert "house" not in first + second


def test_a_value_that_sets_a_cluster_apart_is_its_name() -> None:
    words = ["kettle water", "parcel late", "kettle broken", "refund money"]
    places = ["care", "delivery", "care", "returns"]
    sections = [[{"section": name, "kind": "page"}] * 4 for name in places]
    names = cluster_names([[text] * 4 for text in words], sections)
    assert (names[1], names[3]) == ("delivery", "returns")
    assert names[0].startswith("care · ")
    assert len(set(names)) == 4


def test_clusters_without_text_and_metadata_have_numbers() -> None:
    assert cluster_names([[], []], [[{}], [{}]]) == ["cluster 1", "cluster 2"]


def test_near_duplicates_are_those_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    rows = random.standard_normal((900, 32)).astype(np.float32)
    rows[450:500] = rows[:50] + 0.02 * random.standard_normal((50, 32)).astype(np.float32)
    units = VectorScale(rows, "cosine")(rows)
    components = principal_directions(units)(units)
    exact = find_neighbourhood(units, components)
    assert exact.exact
    assert sorted(group.tolist() for group in exact.groups) == [[i, 450 + i] for i in range(50)]
    monkeypatch.setattr(neighbourhood, "EXACT_ENTRIES", 100)
    fast = find_neighbourhood(units, components)
    assert not fast.exact
    found = {tuple(group.tolist()) for group in fast.groups}
    assert found <= {(i, 450 + i) for i in range(50)}
    assert len(found) >= 45


def test_an_entry_far_from_all_is_an_outlier(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = blobs(900, 3, 16, 0.2)
    rows[77] = -rows[:3].sum(axis=0)
    units = VectorScale(rows, "cosine")(rows)
    components = principal_directions(units)(units)
    assert find_neighbourhood(units, components).outliers.tolist() == [77]
    monkeypatch.setattr(neighbourhood, "EXACT_ENTRIES", 100)
    assert find_neighbourhood(units, components).outliers.tolist() == [77]


def test_values_have_colours_by_frequency_and_filters() -> None:
    kinds: list[object] = ["b", "a", "b", None, True, 1]
    metadatas = [{} if kind is None else {"kind": kind} for kind in kinds]
    found = by_field(metadatas, "kind")
    assert [category.label for category in found.categories] == ["b", "1", "True", "a"]
    assert found.codes.tolist() == [0, 3, 0, MISSING_CODE, 2, 1]
    assert found.categories[0].where == {"kind": "b"}
    assert len({category.color for category in found.categories}) == 4


def test_many_numbers_are_binned_into_ranges_that_filters_select() -> None:
    metadatas: list[dict[str, object]] = [{"year": year} for year in range(1900, 2020)]
    found = by_field([*metadatas, {}, {"year": "?"}], "year")
    assert [category.entries for category in found.categories] == [20] * 6
    assert found.categories[0].where == {"year": {"$gte": 1900, "$lt": 1919.8333333333333}}
    assert found.codes[-2:].tolist() == [MISSING_CODE, REST]
    assert sum(category.entries for category in found.categories) == 120


def test_fields_of_one_value_or_a_text_of_their_own_are_not_offered() -> None:
    metadatas = [
        {"id": f"x{i}", "same": "s", "two": "ab"[i % 2], "number": i, "start": i} for i in range(40)
    ]
    assert colour_fields(metadatas) == ["two", "number"]


def test_a_picture_has_a_dot_of_its_colour_at_each_place() -> None:
    xy = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
    coloring = by_cluster(
        Clusters(np.array([0, 0, 1, 1]), np.zeros((2, 1), np.float32)), ["a", "b"]
    )
    frame = frame_of(xy)
    pixels, palette = decoded(map_picture(xy, coloring, frame))
    for (x, y), code in zip(frame(xy), [0, 0, 1, 1], strict=True):
        color = palette[pixels[int(y * pixels.shape[0]), int(x * pixels.shape[1])]]
        expected = coloring.categories[code].color
        assert "#" + color[:3].tobytes().hex().upper() == expected
        assert color[3] > 128
    assert palette[pixels[0, 0]][3] == 0  # the ground is transparent


def test_a_picture_shows_the_ring_of_the_query_and_lines_to_its_hits() -> None:
    xy = np.array([[0, 0], [1, 1]], np.float32)
    coloring = by_cluster(Clusters(np.array([0, 0]), np.zeros((1, 1), np.float32)), ["a"])
    frame = frame_of(xy)
    ring = np.array([0.5, 0.2], np.float32)
    plain, _ = decoded(map_picture(xy, coloring, frame))
    drawn, palette = decoded(map_picture(xy, coloring, frame, ring, xy[1:]))
    changed = palette[np.unique(drawn[(drawn != plain) & (drawn > 0)])]
    assert {tuple(color[:3].tolist()) for color in changed} == {(128, 128, 128)}
    halfway = (frame(ring[np.newaxis])[0] + frame(xy[1:])[0]) / 2
    y, x = (halfway * drawn.shape[::-1]).astype(int)[::-1]
    assert (drawn != plain)[y - 2 : y + 3, x - 2 : x + 3].any()


def test_a_few_far_places_do_not_shrink_the_others() -> None:
    xy = np.random.default_rng(0).random((2_000, 2)).astype(np.float32)
    xy[0] = 1_000
    frame = frame_of(xy)
    assert frame.width < 3
    assert np.isfinite(frame(xy)).all()


def test_labels_lie_on_their_points_and_apart_from_each_other() -> None:
    xy = np.zeros((40, 2), np.float32)
    clusters = Clusters(np.arange(40) % 4, np.zeros((4, 1), np.float32))
    coloring = by_cluster(clusters, ["first name", "second name", "third name", "fourth name"])
    places = label_places(xy, coloring, frame_of(xy))
    assert places[0] == (0.5, 0.5)
    heights = sorted(y for _, y in places)
    assert min(np.diff(heights)) > 0.03


def test_a_png_refuses_values_without_a_colour() -> None:
    with pytest.raises(ValueError, match="give the palette a colour"):
        indexed_png(np.full((2, 2), 3, np.uint8), np.zeros((3, 4), np.uint8))
