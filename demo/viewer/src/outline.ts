/** The outline of a mask, and the points that a person moves it by. */

import { contours } from "d3-contour";

import type { Mask, Point } from "./mask";

/** A closed outline: the last vertex joins the first. */
export interface Ring {
  points: Point[];
  /** Indices of the vertices that a person can take hold of, ascending. */
  handles: number[];
}

const MOST_HANDLES = 24;
/** Of a ring's size: how far its handles may leave its shape, to begin with. */
const COARSE = 0.006;
const LEAST_HANDLES = 3;

/** Outlines between the pixels of a mask: `Mask.fill` of them gives the same mask again. */
export function trace(mask: Mask): Ring[] {
  const box = mask.bounds();
  if (!box) return [];
  const [columns, rows] = [box.right - box.left + 1, box.bottom - box.top + 1];
  const values = new Uint8Array(columns * rows);
  for (let x = 0; x < columns; x++) {
    const start = (x + box.left) * mask.height + box.top;
    values.set(mask.bits.subarray(start, start + rows), x * rows);
  }
  // The library counts row by row; a mask goes column by column, so x and y change places.
  const [found] = contours().size([rows, columns]).smooth(false).thresholds([0.5])(
    values as unknown as number[], // any list of numbers will do
  );
  return found.coordinates.flat().map((ring) => {
    const points = ring.slice(1).map(([y, x]): Point => [x + box.left, y + box.top]);
    return { points, handles: handlesOf(points) };
  });
}

/** Few vertices that keep a ring's shape, by Douglas and Peucker's rule, coarser until few. */
function handlesOf(points: readonly Point[]): number[] {
  const far = farthest(points, 0);
  const size = Math.hypot(points[far][0] - points[0][0], points[far][1] - points[0][1]);
  for (let tolerance = Math.max(1, size * COARSE); ; tolerance *= 1.4) {
    const kept = new Set([0, far]);
    keep(points, 0, far, tolerance, kept);
    keep(points, far, points.length, tolerance, kept);
    if (kept.size <= MOST_HANDLES) return [...kept].sort((a, b) => a - b);
  }
}

function farthest(points: readonly Point[], from: number): number {
  const [x, y] = points[from];
  let [most, at] = [-1, from];
  points.forEach(([px, py], i) => {
    const distance = Math.hypot(px - x, py - y);
    if (distance > most) [most, at] = [distance, i];
  });
  return at;
}

function keep(points: readonly Point[], first: number, last: number, tolerance: number, kept: Set<number>): void {
  const spans: [number, number][] = [[first, last]];
  for (let span = spans.pop(); span; span = spans.pop()) {
    const [a, b] = [points[span[0]], points[span[1] % points.length]];
    let [worst, at] = [tolerance, -1];
    for (let i = span[0] + 1; i < span[1]; i++) {
      const distance = distanceToSegment(points[i], a, b);
      if (distance > worst) [worst, at] = [distance, i];
    }
    if (at < 0) continue;
    kept.add(at);
    spans.push([span[0], at], [at, span[1]]);
  }
}

function distanceToSegment(point: Point, a: Point, b: Point): number {
  const [x, y] = closest(point, a, b);
  return Math.hypot(point[0] - x, point[1] - y);
}

function closest([x, y]: Point, [ax, ay]: Point, [bx, by]: Point): Point {
  const [dx, dy] = [bx - ax, by - ay];
  const along = ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1);
  const within = Math.min(1, Math.max(0, along));
  return [ax + within * dx, ay + within * dy];
}

/** A ring with one handle moved. The outline follows up to the handles beside it, and no farther. */
export function moved(ring: Ring, handle: number, dx: number, dy: number): Ring {
  const points = [...ring.points];
  const here = ring.handles[handle];
  for (const step of [-1, 1]) {
    const count = ring.handles.length;
    const end = ring.handles[(handle + step + count) % count];
    const way: number[] = [];
    for (let i = here; i !== end; i = (i + step + points.length) % points.length) way.push(i);
    way.forEach((i, away) => {
      // From 1 at the handle to 0 at the next one, without a kink at either.
      const left = 1 - away / way.length;
      const weight = left * left * (3 - 2 * left);
      points[i] = [ring.points[i][0] + dx * weight, ring.points[i][1] + dy * weight];
    });
  }
  return { points, handles: ring.handles };
}

/** A ring without one handle, straight between its neighbours; null where too few would be left. */
export function straightened(ring: Ring, handle: number): Ring | null {
  const count = ring.handles.length;
  if (count <= LEAST_HANDLES) return null;
  const before = ring.handles[(handle - 1 + count) % count];
  const after = ring.handles[(handle + 1) % count];
  const gone = (i: number) => (before < after ? i > before && i < after : i > before || i < after);
  const index = new Map<number, number>();
  const points = ring.points.filter((_, i) => !gone(i) && index.set(i, index.size));
  const handles = ring.handles.filter((i) => index.has(i)).map((i) => index.get(i) as number);
  return { points, handles };
}

/** The nearest place on any outline, and how far away it is, px. */
export function nearest(rings: readonly Ring[], point: Point): { ring: number; after: number; at: Point; distance: number } | null {
  let best: { ring: number; after: number; at: Point; distance: number } | null = null;
  rings.forEach(({ points }, ring) => {
    points.forEach((a, after) => {
      const at = closest(point, a, points[(after + 1) % points.length]);
      const distance = Math.hypot(at[0] - point[0], at[1] - point[1]);
      if (!best || distance < best.distance) best = { ring, after, at, distance };
    });
  });
  return best;
}

/** A ring with one more handle, on a place that lies on it. */
export function withHandle(ring: Ring, after: number, at: Point): Ring {
  const points = [...ring.points];
  points.splice(after + 1, 0, at);
  const handles = ring.handles.map((i) => (i > after ? i + 1 : i));
  handles.push(after + 1);
  return { points, handles: handles.sort((a, b) => a - b) };
}

/** The `d` of an SVG path around rings. */
export function pathOf(rings: readonly Ring[]): string {
  return rings.map(({ points }) => `M${points.map(([x, y]) => `${x},${y}`).join("L")}Z`).join("");
}
