/** The viewer of one photograph and the mask that a model found in it. */

import { Bar, TOOLS } from "./bar";
import { Brush } from "./brush";
import { html, set, svg } from "./dom";
import { Editor, type Tool } from "./editor";
import { pathOf } from "./outline";
import { Points } from "./points";
import { roundLength, Ruler } from "./ruler";
import { Stage } from "./stage";
import { type Small, Strip } from "./strip";

/** What the page sends. */
export interface Data {
  photo: {
    key: string;
    /** Tells one mask of the photograph from another. */
    mask: string;
    url: string;
    width: number;
    height: number;
    /** COCO's uncompressed run lengths. */
    counts: number[];
    /** Height and width of a pixel; null where unknown. */
    spacing_mm: [number, number] | null;
    alt: string;
  };
  strip: Small[];
}

export type Send = (event: "choose" | "spacing" | "save", value: unknown) => void;

const BRUSH_STEP = 1.25;
/** Height by width up to which a picture may be as high as its width asks for. */
const WIDEST_FREE = 0.8;

/** What outlives the viewer: the page takes it away while it shows another view. By photograph and
 * mask; those that nobody changed are let go. */
const kept = { editors: new Map<string, Editor>(), pseudonym: "" };

window.addEventListener("beforeunload", (event) => {
  if ([...kept.editors.values()].some((editor) => editor.unsaved)) event.preventDefault();
});

export class Viewer {
  private readonly root = html("div", { class: "lv" });
  private readonly box = html("div", { class: "lv-box", tabindex: 0, role: "group" });
  private readonly stage = new Stage(this.box);
  private readonly rim = svg("path", { class: "lv-rim" });
  private readonly line = svg("path", { class: "lv-line" });
  private readonly divider = html("div", { class: "lv-divider", hidden: true });
  private readonly scaleBar = html("div", { class: "lv-scale" });
  private readonly bar: Bar;
  private readonly points: Points;
  private readonly brush: Brush;
  private readonly ruler: Ruler;
  private readonly strip: Strip;
  private editor: Editor | null = null;
  private data: Data | null = null;
  private tool: Tool = "move";
  private outlined = true;
  private tinted = false;

  constructor(
    parent: Element,
    private send: Send,
  ) {
    const changed = (done = true) => (done ? this.refresh() : this.drawOutline());
    this.points = new Points(this.stage, () => this.editor, changed);
    this.brush = new Brush(this.stage, () => this.editor, () => changed());
    this.ruler = new Ruler(this.stage, (mm) => this.send("spacing", { key: this.data?.photo.key, mm }));
    this.strip = new Strip((key) => this.send("choose", { key }));
    this.bar = new Bar({
      tool: (tool) => this.take(tool),
      outline: () => this.toggle("outlined"),
      tint: () => this.toggle("tinted"),
      undo: () => this.edit((editor) => editor.undo()),
      redo: () => this.edit((editor) => editor.redo()),
      reset: () => this.edit((editor) => editor.reset()),
      zoom: (steps) => this.stage.zoom(steps),
      home: () => this.stage.home(),
      full: () => this.full(),
      save: () => this.save(),
      brush: (diameter) => void (this.brush.diameter = diameter),
      slide: (share) => this.slide(share),
    });
    this.stage.outline.append(this.rim, this.line);
    this.stage.onMove(() => this.drawScale());
    const frame = html("div", { class: "lv-frame" }, this.box, this.divider, this.scaleBar, this.bar.corner);
    this.root.append(this.bar.head, this.bar.edit, this.ruler.panel, frame, this.bar.foot, this.strip.element);
    parent.append(this.root);
    document.addEventListener("keydown", this.onKey);
    document.addEventListener("keyup", this.onKeyUp);
    document.addEventListener("visibilitychange", this.countTime);
    this.bar.who.value = kept.pseudonym;
    this.bar.who.addEventListener("input", () => (kept.pseudonym = this.bar.who.value.trim()));
  }

  /** Show what the page sent; what a person has changed meanwhile stays. */
  update(data: Data, send: Send): void {
    this.send = send;
    const before = this.data?.photo;
    const { photo, strip } = data;
    this.data = data;
    if (before?.key !== photo.key || before?.mask !== photo.mask) this.load();
    if (before?.key !== photo.key) {
      const ratio = photo.height / photo.width;
      this.box.style.aspectRatio = `${photo.width} / ${photo.height}`;
      set(this.box, { "data-tall": ratio > WIDEST_FREE });
      this.stage.show(photo.url, photo.width, photo.height);
      this.ruler.clear();
    }
    set(this.box, { "aria-label": photo.alt });
    this.strip.update(strip, photo.key);
    this.refresh();
  }

  destroy(): void {
    document.removeEventListener("keydown", this.onKey);
    document.removeEventListener("keyup", this.onKeyUp);
    document.removeEventListener("visibilitychange", this.countTime);
    this.editor?.work(false);
    this.stage.destroy();
    this.root.remove();
  }

  private load(): void {
    const photo = (this.data as Data).photo;
    this.editor?.work(false);
    for (const [key, editor] of kept.editors) if (!editor.canUndo) kept.editors.delete(key);
    const key = `${photo.key} ${photo.mask}`;
    this.editor = kept.editors.get(key) ?? new Editor(photo.width, photo.height, photo.counts);
    kept.editors.set(key, this.editor);
    this.countTime();
    this.points.draw();
  }

  private take(tool: Tool): void {
    this.tool = tool;
    this.brush.erases = tool === "erase";
    this.brush.hover(null);
    this.stage.grip = { move: null, points: this.points, brush: this.brush, erase: this.brush, ruler: this.ruler }[tool];
    if (tool !== "move" && tool !== "ruler") this.outlined = true;
    if (tool !== "ruler") this.ruler.clear();
    this.ruler.panel.hidden = tool !== "ruler";
    set(this.box, { "data-tool": tool });
    this.countTime();
    this.points.show(tool === "points");
    this.refresh();
  }

  private edit(change: (editor: Editor) => void): void {
    if (this.editor) change(this.editor);
    this.points.draw();
    this.refresh();
  }

  private toggle(which: "outlined" | "tinted"): void {
    this[which] = !this[which];
    this.refresh();
  }

  private save(): void {
    const [editor, data] = [this.editor, this.data];
    if (!editor || !data) return;
    editor.unsaved = false;
    this.send("save", {
      key: data.photo.key, mask: data.photo.mask, counts: editor.counts(),
      seconds: editor.seconds(), annotator: kept.pseudonym,
    });
  }

  private slide(share: number): void {
    this.stage.cut.style.clipPath = `inset(0 0 0 ${share * 100}%)`;
    this.divider.style.left = `${share * 100}%`;
    this.divider.hidden = share === 0;
  }

  private full(): void {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void this.root.requestFullscreen?.();
  }

  private refresh(): void {
    const editor = this.editor;
    if (!editor) return;
    this.bar.refresh({
      tool: this.tool, outline: this.outlined, tint: this.tinted,
      undo: editor.canUndo, redo: editor.canRedo, changed: editor.changed,
    });
    this.drawOutline();
    this.drawScale();
    const side = this.data?.photo.spacing_mm;
    const area = side ? `${(editor.area * side[0] * side[1]).toFixed(1)} mm²` : `${editor.area.toLocaleString("en")} px²`;
    this.bar.area.textContent = `${editor.changed ? "Corrected" : "Model's"} outline: ${area}`;
  }

  private drawOutline(): void {
    const d = pathOf(this.editor?.rings ?? []);
    const shown = { d, display: this.outlined || this.tinted ? null : "none" };
    set(this.rim, { ...shown, "stroke-opacity": this.outlined ? null : 0 });
    set(this.line, { ...shown, "stroke-opacity": this.outlined ? null : 0, "fill-opacity": this.tinted ? 0.3 : 0 });
  }

  private drawScale(): void {
    const scale = this.stage.scale();
    const side = this.data?.photo.spacing_mm;
    if (!(scale > 0)) return;
    const { units, px } = roundLength(side ? scale / side[1] : scale);
    this.scaleBar.style.width = `${px}px`;
    this.scaleBar.textContent = `${units} ${side ? "mm" : "px"}`;
  }

  private readonly countTime = (): void => {
    const editing = ["points", "brush", "erase"].includes(this.tool);
    this.editor?.work(editing && document.visibilityState === "visible");
  };

  /** Whether a key is meant for the picture, not for a field or another part of the page. */
  private isForUs(event: KeyboardEvent): boolean {
    const target = event.target as Element;
    const inside = this.root.contains(target) || target === document.body;
    const typed = target.matches("input:not([type=range]), textarea, select, [contenteditable]");
    return inside && !typed && !event.altKey && !event.defaultPrevented;
  }

  private readonly onKey = (event: KeyboardEvent): void => {
    if (!this.isForUs(event)) return;
    const target = event.target as Element;
    const control = event.ctrlKey || event.metaKey;
    const done = control ? this.onControl(event) : this.onPlainKey(event, target);
    if (done) event.preventDefault();
  };

  private readonly onKeyUp = (event: KeyboardEvent): void => {
    if (event.key === " ") this.stage.panning = false;
  };

  private onControl(event: KeyboardEvent): boolean {
    const key = event.key.toLowerCase();
    if (key === "z" && !event.shiftKey) this.edit((editor) => editor.undo());
    else if (key === "y" || key === "z") this.edit((editor) => editor.redo());
    else return false;
    return true;
  }

  private onPlainKey(event: KeyboardEvent, target: Element): boolean {
    const key = event.key.toLowerCase();
    const tool = TOOLS.find((each) => each.key === key);
    const onRange = target.matches("input");
    if (tool) this.take(tool.tool);
    else if (key === "o") this.toggle("outlined");
    else if (key === "t") this.toggle("tinted");
    else if (key === "f") this.full();
    else if (key === "+" || key === "=") this.stage.zoom(1);
    else if (key === "-") this.stage.zoom(-1);
    else if (key === "0") this.stage.home();
    else if (key === "[" || key === "]") this.resize(key === "]" ? BRUSH_STEP : 1 / BRUSH_STEP);
    else if (key === " " && !target.matches("button, summary")) this.stage.panning = true;
    else if (key === "enter" && this.tool === "ruler" && target === this.box) this.placeRuler();
    else if (key.startsWith("arrow") && !onRange) return this.onArrow(key, event.shiftKey);
    else return false;
    return true;
  }

  private onArrow(key: string, shift: boolean): boolean {
    const [right, down] = { arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1] }[key] ?? [0, 0];
    if (!shift && right && this.strip.several) return this.strip.step(right);
    if (!shift && this.stage.isHome()) return false;
    this.stage.pan(right, down);
    return true;
  }

  private resize(factor: number): void {
    this.bar.size.valueAsNumber = this.brush.diameter * factor;
    this.brush.diameter = this.bar.size.valueAsNumber;
  }

  private placeRuler(): void {
    const photo = this.data?.photo;
    if (photo) this.ruler.place(photo.width, photo.height);
  }
}
