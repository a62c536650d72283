/** Two marks on a ruler in the photograph, and the bar that says how long a millimetre is. */

import { html, set, svg } from "./dom";
import { handle, put } from "./handle";
import type { Point } from "./mask";
import type { Stage } from "./stage";

/** Longest bar, in pixels of the screen. */
const BAR_PX = 130;

export class Ruler {
  readonly marks: Point[] = [];
  readonly panel: HTMLElement;
  private readonly line = svg("line", { class: "lv-ruler" });
  private readonly ends = [0, 1].map((index) => this.end(index));
  private readonly length = html("input", {
    type: "number", min: "0.01", step: "any", value: "10", id: "lv-mm", "aria-label": "Millimetres between the marks",
  });
  private readonly apply: HTMLButtonElement;
  private readonly hint = html("span", { class: "lv-hint", role: "status" });

  constructor(
    private readonly stage: Stage,
    private readonly measured: (mmPerPixel: number) => void,
  ) {
    this.apply = html("button", { type: "button", class: "lv-main", click: () => this.set() }, "Set the scale");
    this.length.addEventListener("keydown", (event) => event.key === "Enter" && this.set());
    this.panel = html("div", { class: "lv-row", hidden: true }, this.hint, this.length, " mm apart", this.apply);
    stage.tools.append(this.line, ...this.ends);
    stage.onMove(() => this.draw());
    this.draw();
  }

  click(at: Point): void {
    if (this.marks.length > 1) this.marks.length = 0;
    this.marks.push(at);
    this.draw();
    if (this.marks.length > 1) this.length.select();
  }

  /** Put both marks into the picture, for those who move them with the arrow keys. */
  place(width: number, height: number): void {
    this.marks.splice(0, 2, [width * 0.3, height / 2], [width * 0.7, height / 2]);
    this.draw();
    this.ends[0].focus();
  }

  clear(): void {
    this.marks.length = 0;
    this.draw();
  }

  private end(index: number): SVGGElement {
    const end = handle(`Mark ${index + 1} of the ruler: arrow keys move it`);
    end.addEventListener("pointerdown", (event) => {
      event.stopPropagation();
      end.setPointerCapture(event.pointerId);
    });
    end.addEventListener("pointermove", (event) => {
      if (!end.hasPointerCapture(event.pointerId)) return;
      const box = this.stage.box.getBoundingClientRect();
      this.marks[index] = this.stage.toImage(event.clientX - box.left, event.clientY - box.top);
      this.draw();
    });
    end.addEventListener("keydown", (event) => {
      const step = arrow(event);
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      const [x, y] = this.marks[index];
      this.marks[index] = [x + step[0], y + step[1]];
      this.draw();
    });
    return end;
  }

  private set(): void {
    const [a, b] = this.marks;
    const millimetres = this.length.valueAsNumber;
    if (!a || !b || !(millimetres > 0)) return;
    const pixels = Math.hypot(a[0] - b[0], a[1] - b[1]);
    if (pixels >= 2) this.measured(millimetres / pixels);
  }

  private draw(): void {
    const [a, b] = this.marks.map((mark) => this.stage.toScreen(mark));
    this.ends.forEach((end, index) => put(end, [a, b][index] ?? null));
    set(this.line, a && b ? { x1: a[0], y1: a[1], x2: b[0], y2: b[1], display: null } : { display: "none" });
    const ready = this.marks.length === 2;
    this.hint.textContent = ready
      ? "The marks are"
      : `Click ${this.marks.length ? "the second" : "two"} mark${this.marks.length ? "" : "s"} of the ruler in the photograph (Enter places them for the arrow keys).`;
    this.panel.classList.toggle("lv-ready", ready);
    this.apply.disabled = !ready;
  }
}

/** Step of an arrow key in pixels of the photograph, ten with Shift; null for any other key. */
export function arrow(event: KeyboardEvent): Point | null {
  const steps: Record<string, Point> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const step = steps[event.key];
  const times = event.shiftKey ? 10 : 1;
  return step ? [step[0] * times, step[1] * times] : null;
}

/** The longest of 1, 2, 5, 10 … that a bar of at most `BAR_PX` can show, and how long it is drawn.
 *
 * @param scale Pixels of the screen for one unit.
 */
export function roundLength(scale: number): { units: number; px: number } {
  const most = BAR_PX / scale;
  const ten = 10 ** Math.floor(Math.log10(most));
  const units = [5, 2, 1].map((n) => n * ten).find((n) => n <= most) ?? ten;
  return { units, px: units * scale };
}
