/** The points that an outline is moved by: dragged, or with the arrow keys. */

import { svg } from "./dom";
import type { Editor } from "./editor";
import { handle as dot, put } from "./handle";
import type { Point } from "./mask";
import type { Ring } from "./outline";
import { arrow } from "./ruler";
import type { Grip, Stage } from "./stage";

const REACH_PX = 14;

export class Points implements Grip {
  private readonly layer = svg("g");
  private dots: { dot: SVGGElement; ring: number; handle: number }[] = [];
  private shown = false;

  constructor(
    private readonly stage: Stage,
    private readonly editor: () => Editor | null,
    /** Called while an outline moves (`done` false), and once it has. */
    private readonly changed: (done: boolean) => void,
  ) {
    stage.tools.append(this.layer);
    stage.onMove(() => this.follow());
  }

  show(shown: boolean): void {
    this.shown = shown;
    this.draw();
  }

  /** A click on an outline adds a point there. */
  click(at: Point): void {
    if (this.editor()?.addPoint(at, REACH_PX / this.stage.scale())) this.draw();
  }

  /** Draw the points of the present outlines; the one that had the focus keeps it. */
  draw(): void {
    const focused = this.dots.findIndex(({ dot: each }) => each === document.activeElement);
    const rings = this.shown ? (this.editor()?.rings ?? []) : [];
    const places = rings.flatMap(({ handles }, ring) => handles.map((_, handle) => ({ ring, handle })));
    this.dots = places.map((place, index) => ({
      ...place,
      dot: this.dot(place.ring, place.handle, `Point ${index + 1} of ${places.length}`),
    }));
    this.layer.replaceChildren(...this.dots.map(({ dot: each }) => each));
    this.follow();
    if (focused >= 0) this.dots[Math.min(focused, this.dots.length - 1)]?.dot.focus();
  }

  private follow(): void {
    const rings = this.editor()?.rings ?? [];
    for (const { dot: each, ring, handle } of this.dots) {
      const vertex = rings[ring]?.points[rings[ring].handles[handle]];
      if (!vertex) continue;
      put(each, this.stage.toScreen(vertex));
    }
  }

  private dot(ring: number, handle: number, name: string): SVGGElement {
    const each = dot(`${name}: arrow keys move it, Delete removes it`);
    let from: { ring: Ring; x: number; y: number } | null = null;
    each.addEventListener("pointerdown", (event) => {
      const editor = this.editor();
      if (!editor || !event.isPrimary || event.button !== 0) return;
      event.stopPropagation();
      each.setPointerCapture(event.pointerId);
      from = { ring: editor.rings[ring], x: event.clientX, y: event.clientY };
    });
    each.addEventListener("pointermove", (event) => {
      if (!from) return;
      const scale = this.stage.scale();
      this.editor()?.move(ring, from.ring, handle, (event.clientX - from.x) / scale, (event.clientY - from.y) / scale);
      this.moved(false);
    });
    const end = () => {
      if (!from) return;
      from = null;
      this.editor()?.settle();
      this.moved(true);
    };
    each.addEventListener("pointerup", end);
    each.addEventListener("pointercancel", end);
    each.addEventListener("keydown", (event) => this.key(event, ring, handle));
    return each;
  }

  private key(event: KeyboardEvent, ring: number, handle: number): void {
    const editor = this.editor();
    const step = arrow(event);
    const remove = event.key === "Delete" || event.key === "Backspace";
    if (!editor || !(step || remove)) return;
    event.preventDefault();
    event.stopPropagation();
    if (step) {
      editor.move(ring, editor.rings[ring], handle, ...step);
      editor.settle();
    } else if (editor.removePoint(ring, handle)) {
      this.draw();
    }
    this.moved(true);
  }

  private moved(done: boolean): void {
    this.follow();
    this.changed(done);
  }
}
