/** The buttons and fields around the picture. */

import { html, set, svg } from "./dom";
import type { Tool } from "./editor";

export const TOOLS: readonly { tool: Tool; label: string; key: string; help: string }[] = [
  { tool: "move", label: "Move", key: "m", help: "Drag moves the picture, the wheel or two fingers zoom" },
  { tool: "points", label: "Points", key: "p", help: "Drag a point of the outline; click on the outline for one more" },
  { tool: "brush", label: "Brush", key: "b", help: "Paint what belongs to the lesion" },
  { tool: "erase", label: "Erase", key: "e", help: "Paint what does not" },
  { tool: "ruler", label: "Ruler", key: "l", help: "Two clicks on a ruler in the photograph give the scale" },
];

const KEYS = `O outline · T tint · M P B E L the tools · [ ] size of the brush · Ctrl+Z undo · Ctrl+Y redo ·
+ − 0 zoom · Shift+arrows pan · ← → another photograph · Space+drag pan · F full screen`;

export interface Actions {
  tool(tool: Tool): void;
  outline(): void;
  tint(): void;
  undo(): void;
  redo(): void;
  reset(): void;
  zoom(steps: number): void;
  home(): void;
  full(): void;
  save(): void;
  brush(diameter: number): void;
  slide(share: number): void;
}

function button(label: string, title: string, click: () => void, more = ""): HTMLButtonElement {
  return html("button", { type: "button", title, click, class: more }, label);
}

export class Bar {
  readonly tools = TOOLS.map(({ tool, label, key, help }) =>
    set_(button(label, `${help} (${key.toUpperCase()})`, () => this.actions.tool(tool)), { "data-tool": tool }),
  );
  readonly outline = button("Outline", "Outline on or off (O)", () => this.actions.outline());
  readonly tint = button("Tint", "Colour inside the outline (T)", () => this.actions.tint());
  readonly undo = button("Undo", "Undo (Ctrl+Z)", () => this.actions.undo());
  readonly redo = button("Redo", "Redo (Ctrl+Y)", () => this.actions.redo());
  readonly reset = button("Start again", "Back to the model's outline (can be undone)", () => this.actions.reset());
  readonly save = button("Save correction", "Keep the outline as it is now", () => this.actions.save(), "lv-main");
  readonly who = html("input", { type: "text", maxlength: 64, size: 12, placeholder: "pseudonym", "aria-label": "Your pseudonym, no real name" });
  readonly size = html("input", { type: "range", min: 4, max: 160, value: 36, "aria-label": "Size of the brush" });
  readonly area = html("output", { class: "lv-area" });
  readonly slide = html("input", { class: "lv-slide", type: "range", min: 0, max: 100, step: 0.5, value: 0, "aria-label": "Original up to here, from the left" });
  readonly head: HTMLElement;
  readonly edit: HTMLElement;
  readonly corner: HTMLElement;
  readonly foot: HTMLElement;
  private readonly brushes = html("label", {}, "Size ", this.size);

  constructor(private readonly actions: Actions) {
    this.head = html(
      "div", { class: "lv-row", role: "toolbar", "aria-label": "Tools" },
      html("span", { class: "lv-group" }, ...this.tools),
      html("span", { class: "lv-group" }, this.outline, this.tint),
      html("details", { class: "lv-keys" }, html("summary", {}, "Keys"), html("p", {}, KEYS)),
    );
    this.edit = html(
      "div", { class: "lv-row", hidden: true },
      this.brushes, html("span", { class: "lv-group" }, this.undo, this.redo, this.reset), this.who, this.save,
    );
    const full = button("", "Full screen (F)", () => actions.full());
    const corners = "M2 7V2h5M11 2h5v5M16 11v5h-5M7 16H2v-5";
    full.append(svg("svg", { viewBox: "0 0 18 18", width: 18, "aria-hidden": "true" }, svg("path", { d: corners })));
    set(full, { "aria-label": "Full screen" });
    this.corner = html(
      "div", { class: "lv-corner" },
      button("+", "Zoom in (+)", () => actions.zoom(1)), button("−", "Zoom out (−)", () => actions.zoom(-1)),
      button("Fit", "The whole photograph (0)", () => actions.home(), "lv-small"), full,
    );
    const legend = html("div", { class: "lv-row lv-foot" }, html("span", {}, "← original"), this.area, html("span", {}, "outline →"));
    this.foot = html("div", {}, this.slide, legend);
    this.size.addEventListener("input", () => actions.brush(this.size.valueAsNumber));
    this.slide.addEventListener("input", () => actions.slide(this.slide.valueAsNumber / 100));
  }

  /** Show which tool is in hand, and what can be done. */
  refresh(state: { tool: Tool; outline: boolean; tint: boolean; undo: boolean; redo: boolean; changed: boolean }): void {
    for (const each of this.tools) set(each, { "aria-pressed": String(each.dataset.tool === state.tool) });
    set(this.outline, { "aria-pressed": String(state.outline) });
    set(this.tint, { "aria-pressed": String(state.tint) });
    this.edit.hidden = !["points", "brush", "erase"].includes(state.tool) && !state.changed;
    this.brushes.hidden = state.tool !== "brush" && state.tool !== "erase";
    this.undo.disabled = !state.undo;
    this.redo.disabled = !state.redo;
    this.reset.disabled = this.save.disabled = !state.changed;
  }
}

function set_<E extends Element>(element: E, attributes: Record<string, string>): E {
  set(element, attributes);
  return element;
}
