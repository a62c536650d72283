/** A round brush that adds to the lesion or takes away from it. */

import { set, svg } from "./dom";
import type { Editor } from "./editor";
import type { Point } from "./mask";
import type { Grip, Stage } from "./stage";

export class Brush implements Grip {
  /** Across, in pixels of the screen: who zooms in paints finer. */
  diameter = 36;
  erases = false;

  private stroke: Point[] = [];
  private readonly preview = svg("path", { class: "lv-stroke" });
  private readonly cursor = svg("circle", { class: "lv-cursor", display: "none" });

  constructor(
    private readonly stage: Stage,
    private readonly editor: () => Editor | null,
    private readonly changed: () => void,
  ) {
    stage.marks.append(this.preview);
    stage.tools.append(this.cursor);
  }

  press(at: Point): void {
    this.stroke = [at];
    this.draw();
  }

  drag(at: Point): void {
    this.stroke.push(at);
    this.draw();
  }

  release(): void {
    if (this.stroke.length) this.editor()?.paint(this.stroke, this.radius(), this.erases ? 0 : 1);
    this.cancel();
    this.changed();
  }

  cancel(): void {
    this.stroke = [];
    this.draw();
  }

  hover(at: Point | null): void {
    const [cx, cy] = at ? this.stage.toScreen(at) : [0, 0];
    set(this.cursor, { cx, cy, r: this.diameter / 2, display: at ? null : "none" });
  }

  private radius(): number {
    return this.diameter / 2 / (this.stage.scale() || 1);
  }

  private draw(): void {
    const [first, ...rest] = this.stroke;
    set(this.preview, {
      // A stroke of no length draws nothing: a dot is a very short one.
      d: first ? `M${first}L${[[first[0] + 0.01, first[1]], ...rest].join("L")}` : null,
      "stroke-width": 2 * this.radius(),
      class: this.erases ? "lv-stroke lv-erasing" : "lv-stroke",
    });
  }
}
