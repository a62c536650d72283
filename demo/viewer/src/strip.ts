/** Small pictures of all photographs; a click, or an arrow key, shows another. */

import { html, set } from "./dom";

export interface Small {
  key: string;
  name: string;
  url: string;
  note: string;
}

export class Strip {
  readonly element = html("nav", { class: "lv-strip", "aria-label": "Photographs" });
  private shown: Small[] = [];
  private chosen = "";

  constructor(private readonly choose: (key: string) => void) {}

  update(photographs: Small[], chosen: string): void {
    this.element.hidden = photographs.length < 2;
    if (JSON.stringify(photographs) !== JSON.stringify(this.shown)) {
      this.shown = photographs;
      this.element.replaceChildren(...photographs.map((each) => this.small(each)));
    }
    this.chosen = chosen;
    for (const button of this.element.children) {
      const current = (button as HTMLElement).dataset.key === chosen;
      set(button, { "aria-current": current ? "true" : null });
      if (current) this.element.scrollLeft = (button as HTMLElement).offsetLeft - this.element.clientWidth / 2;
    }
  }

  /** Show the photograph so many after the present one; false where there is none. */
  step(by: number): boolean {
    const next = this.shown[this.shown.findIndex(({ key }) => key === this.chosen) + by];
    if (next) this.choose(next.key);
    return next !== undefined;
  }

  get several(): boolean {
    return this.shown.length > 1;
  }

  private small({ key, name, url, note }: Small): HTMLElement {
    return html(
      "button", { type: "button", "data-key": key, title: `${name}: ${note}`, click: () => this.choose(key) },
      html("img", { src: url, alt: "", loading: "lazy" }),
      html("span", { class: `lv-note lv-${note}` }, note),
      html("span", { class: "lv-name" }, name),
    );
  }
}
