/** One photograph's mask while a person mends it: brush, points, undo, and the time it took. */

import { Mask, type Point } from "./mask";
import { moved, nearest, type Ring, straightened, trace, withHandle } from "./outline";

export type Tool = "move" | "points" | "brush" | "erase" | "ruler";

const MOST_STEPS = 200;

export class Editor {
  readonly mask: Mask;
  rings: Ring[];
  area: number;
  /** Whether it differs from what was last saved or came. */
  unsaved = false;

  private readonly past: number[][] = [];
  private future: number[][] = [];
  private present: number[];
  private spentMs = 0;
  private since: number | null = null;

  constructor(
    width: number,
    height: number,
    readonly original: number[],
  ) {
    this.mask = new Mask(width, height);
    this.mask.read(original);
    this.present = original;
    this.rings = trace(this.mask);
    this.area = this.mask.area();
  }

  get canUndo(): boolean {
    return this.past.length > 0;
  }

  get canRedo(): boolean {
    return this.future.length > 0;
  }

  get changed(): boolean {
    return this.present.join() !== this.original.join();
  }

  paint(stroke: readonly Point[], radius: number, value: 0 | 1): void {
    this.mask.paint(stroke, radius, value);
    this.rings = trace(this.mask);
    this.done();
  }

  /** Put a ring with a moved handle into its place; the mask follows once it is let go. */
  move(ring: number, from: Ring, handle: number, dx: number, dy: number): void {
    this.rings[ring] = moved(from, handle, dx, dy);
  }

  /** Make the mask of the outlines as they are now. */
  settle(): void {
    this.mask.fill(this.rings.map(({ points }) => points));
    this.done();
  }

  /** Add a point where an outline passes within `reach` px. */
  addPoint(at: Point, reach: number): boolean {
    const near = nearest(this.rings, at);
    if (!near || near.distance > reach) return false;
    this.rings[near.ring] = withHandle(this.rings[near.ring], near.after, near.at);
    return true;
  }

  removePoint(ring: number, handle: number): boolean {
    const without = straightened(this.rings[ring], handle);
    if (!without) return false;
    this.rings[ring] = without;
    this.settle();
    return true;
  }

  undo(): void {
    const last = this.past.pop();
    if (last) this.future.push(this.present);
    if (last) this.restore(last);
  }

  redo(): void {
    const next = this.future.pop();
    if (next) this.past.push(this.present);
    if (next) this.restore(next);
  }

  /** Go back to the mask that came; that can be undone. */
  reset(): void {
    this.mask.read(this.original);
    this.rings = trace(this.mask);
    this.done();
  }

  /** COCO's run lengths of the mask as it is. */
  counts(): number[] {
    return this.present;
  }

  /** Count time from now on, or stop counting. */
  work(on: boolean): void {
    const now = performance.now();
    if (this.since !== null) this.spentMs += now - this.since;
    this.since = on ? now : null;
  }

  /** Seconds spent with an editing tool in hand while the page could be seen. */
  seconds(): number {
    this.work(this.since !== null);
    return Math.round(this.spentMs / 100) / 10;
  }

  private done(): void {
    const counts = this.mask.counts();
    if (counts.join() === this.present.join()) return;
    this.past.push(this.present);
    if (this.past.length > MOST_STEPS) this.past.shift();
    this.future = [];
    this.present = counts;
    this.area = this.mask.area();
    this.unsaved = true;
  }

  private restore(counts: number[]): void {
    this.present = counts;
    this.mask.read(counts);
    this.rings = trace(this.mask);
    this.area = this.mask.area();
    this.unsaved = true;
  }
}
