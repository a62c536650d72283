/** A mask at the photograph's own size, and what edits it: a brush, and the filling of outlines. */

export type Point = [x: number, y: number];

/** One byte a pixel, column by column from the top left, as COCO's run lengths count them. */
export class Mask {
  readonly bits: Uint8Array;

  constructor(
    readonly width: number,
    readonly height: number,
  ) {
    this.bits = new Uint8Array(width * height);
  }

  /** Replace all pixels by COCO's uncompressed run lengths: first of background, then of lesion. */
  read(counts: readonly number[]): void {
    this.bits.fill(0);
    let at = 0;
    counts.forEach((count, index) => {
      if (index % 2) this.bits.fill(1, at, at + count);
      at += count;
    });
  }

  /** COCO's uncompressed run lengths. */
  counts(): number[] {
    const counts: number[] = [];
    let value = 0;
    let start = 0;
    while (start < this.bits.length || counts.length === 0) {
      let end = this.bits.indexOf(1 - value, start);
      if (end < 0) end = this.bits.length;
      counts.push(end - start);
      start = end;
      value = 1 - value;
    }
    return counts;
  }

  /** First and last column and row with a pixel of the lesion; null where there is none. */
  bounds(): { left: number; right: number; top: number; bottom: number } | null {
    const first = this.bits.indexOf(1);
    if (first < 0) return null;
    const last = this.bits.lastIndexOf(1);
    let top = this.height;
    let bottom = -1;
    const left = Math.floor(first / this.height);
    const right = Math.floor(last / this.height);
    for (let x = left; x <= right; x++) {
      const column = this.bits.subarray(x * this.height, (x + 1) * this.height);
      const highest = column.indexOf(1);
      if (highest < 0) continue;
      top = Math.min(top, highest);
      bottom = Math.max(bottom, column.lastIndexOf(1));
    }
    return { left, right, top, bottom };
  }

  /** Set every pixel whose centre lies within `radius` px of a stroke. */
  paint(stroke: readonly Point[], radius: number, value: 0 | 1): void {
    for (let i = 0; i < stroke.length; i++) {
      this.capsule(stroke[Math.max(0, i - 1)], stroke[i], radius, value);
    }
  }

  /** Set every pixel whose centre lies within `radius` px of a straight line. */
  private capsule([ax, ay]: Point, [bx, by]: Point, radius: number, value: 0 | 1): void {
    const [left, right] = this.range(Math.min(ax, bx) - radius, Math.max(ax, bx) + radius, this.width);
    const [top, bottom] = this.range(Math.min(ay, by) - radius, Math.max(ay, by) + radius, this.height);
    const [dx, dy] = [bx - ax, by - ay];
    const long = dx * dx + dy * dy || 1;
    for (let x = left; x < right; x++) {
      for (let y = top; y < bottom; y++) {
        const [px, py] = [x + 0.5 - ax, y + 0.5 - ay];
        const along = Math.min(1, Math.max(0, (px * dx + py * dy) / long));
        const [ex, ey] = [px - along * dx, py - along * dy];
        if (ex * ex + ey * ey <= radius * radius) this.bits[x * this.height + y] = value;
      }
    }
  }

  /** Replace all pixels by what closed outlines hold (a pixel counts by its centre).
   *
   * By the winding number: an outline that runs the other way round inside another is a hole, and
   * one that crosses itself stays filled.
   */
  fill(outlines: readonly (readonly Point[])[]): void {
    const crossings: [y: number, direction: number][][] = [];
    for (const outline of outlines) {
      outline.forEach(([x1, y1], i) => {
        const [x2, y2] = outline[(i + 1) % outline.length];
        const [low, high] = this.range(Math.min(x1, x2), Math.max(x1, x2), this.width);
        for (let x = low; x < high; x++) {
          const y = y1 + ((x + 0.5 - x1) * (y2 - y1)) / (x2 - x1);
          (crossings[x] ??= []).push([y, Math.sign(x2 - x1)]);
        }
      });
    }
    this.bits.fill(0);
    crossings.forEach((column, x) => {
      column.sort((a, b) => a[0] - b[0]);
      let winding = 0;
      column.forEach(([y, direction], i) => {
        if (winding !== 0) {
          const [top, bottom] = this.range(column[i - 1][0], y, this.height);
          this.bits.fill(1, x * this.height + top, x * this.height + Math.max(top, bottom));
        }
        winding += direction;
      });
    });
  }

  /** Pixels of the lesion. */
  area(): number {
    let sum = 0;
    for (const bit of this.bits) sum += bit;
    return sum;
  }

  /** Pixels whose centres lie from `low` up to below `high`, within 0 to `size`: [first, end). */
  private range(low: number, high: number, size: number): [number, number] {
    const inside = (value: number) => Math.min(size, Math.max(0, Math.ceil(value - 0.5)));
    return [inside(low), inside(high)];
  }
}
