/** The points that an outline is moved by: dragged, or with the arrow keys. */

import { set, svg } from "./dom";
import type { Editor } from "./editor";
import type { Point } from "./mask";
import type { Ring } from "./outline";
import { arrow } from "./ruler";
import type { Grip, Stage } from "./stage";

const REACH_PX = 14;

export class Points implements Grip {
  private readonly layer = svg("g");
  private circles: { circle: SVGCircleElement; ring: number; handle: number }[] = [];
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
    const focused = this.circles.findIndex(({ circle }) => circle === document.activeElement);
    const rings = this.shown ? (this.editor()?.rings ?? []) : [];
    const places = rings.flatMap(({ handles }, ring) => handles.map((_, handle) => ({ ring, handle })));
    this.circles = places.map((place, index) => ({
      ...place,
      circle: this.circle(place.ring, place.handle, `Point ${index + 1} of ${places.length}`),
    }));
    this.layer.replaceChildren(...this.circles.map(({ circle }) => circle));
    this.follow();
    if (focused >= 0) this.circles[Math.min(focused, this.circles.length - 1)]?.circle.focus();
  }

  private follow(): void {
    const rings = this.editor()?.rings ?? [];
    for (const { circle, ring, handle } of this.circles) {
      const vertex = rings[ring]?.points[rings[ring].handles[handle]];
      if (!vertex) continue;
      const [cx, cy] = this.stage.toScreen(vertex);
      set(circle, { cx, cy });
    }
  }

  private circle(ring: number, handle: number, name: string): SVGCircleElement {
    const circle = svg("circle", {
      class: "lv-handle", r: 6, tabindex: 0, role: "button",
      "aria-label": `${name}: arrow keys move it, Delete removes it`,
    });
    let from: { ring: Ring; x: number; y: number } | null = null;
    circle.addEventListener("pointerdown", (event) => {
      const editor = this.editor();
      if (!editor || !event.isPrimary || event.button !== 0) return;
      event.stopPropagation();
      circle.setPointerCapture(event.pointerId);
      from = { ring: editor.rings[ring], x: event.clientX, y: event.clientY };
    });
    circle.addEventListener("pointermove", (event) => {
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
    circle.addEventListener("pointerup", end);
    circle.addEventListener("pointercancel", end);
    circle.addEventListener("keydown", (event) => this.key(event, ring, handle));
    return circle;
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
