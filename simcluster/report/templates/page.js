// Zoom and hover for the figures of a report. It reads the figures' own SVG and a few numbers about their axes, and
// fetches nothing. Without it the page is the same, only still.
"use strict";
const SVG = "http://www.w3.org/2000/svg";
const NEAR = 14; // in units of the figure: how far from the pointer a thing still counts as pointed at
const tip = document.getElementById("tip");
const names = [...document.querySelectorAll("[data-legend] .name")].map((name) => name.textContent);

// A scale between values and places, both ways; `from` and `to` are where its ends lie.
function scale(axis, from, to) {
  const value = axis.log ? Math.log : (x) => x;
  const back = axis.log ? Math.exp : (x) => x;
  const low = value(axis.low), high = value(axis.high);
  return {
    place: (x) => from + (value(x) - low) / (high - low) * (to - from),
    value: (place) => back(low + (place - from) / (to - from) * (high - low)),
  };
}

function shown(value) {
  const size = Math.abs(value);
  if (size >= 1000) return value.toLocaleString("en", { maximumFractionDigits: 0 });
  return size === 0 || size >= 1e-4 ? String(Number(value.toPrecision(4))) : value.toPrecision(2);
}

function make(tag, attributes, parent) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  parent.append(element);
  return element;
}

// Round values between two ends: about six, on a logarithmic axis of more than a decade 1, 2 and 5 of each.
function rounds(low, high, log) {
  const found = [];
  if (log && high / low > 10) {
    const steps = high / low > 1e4 ? [1] : high / low > 100 ? [1, 3] : [1, 2, 5];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
      for (const step of steps) found.push(step * 10 ** power);
  } else {
    const raw = (high - low) / 6, power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
    for (let number = Math.ceil(low / step); number * step <= high; number++) found.push(number * step);
  }
  return found.filter((value) => value >= low && value <= high);
}

// What is drawn in some axes, with its original places, so that it can be drawn as seen through a window.
class Panel {
  constructor(svg, about) {
    Object.assign(this, about);
    this.group = svg.querySelector(`#${svg.dataset.figure}-axes_${about.axes}`);
    this.xs = scale(about.x, about.left, about.right);
    this.ys = about.y && scale(about.y, about.bottom, about.top);
    const isAxis = (element) => element.closest("[id*='matplotlib.axis']");
    const clipped = [...this.group.querySelectorAll("[clip-path]")].filter((element) => !isAxis(element));
    this.paths = clipped.filter((element) => element.tagName === "path").map((element) => ({ element, d: points(element) }));
    this.marks = clipped.flatMap((element) => [...element.querySelectorAll("use")]).map((element) => ({
      element, x: Number(element.getAttribute("x")), y: Number(element.getAttribute("y")),
    }));
    this.texts = [...this.group.children].filter((element) => /-text_\d+$/.test(element.id)).map((element) => {
      const at = /translate\(([-\d.]+) ([-\d.]+)\)/.exec(element.innerHTML);
      return at && { element, x: Number(at[1]), y: Number(at[2]) };
    }).filter((text) => text && this.holds(text.x, text.y));
    this.ticks = [...this.group.querySelectorAll("[id*='tick_']")];
    this.own = make("g", {}, this.group);
    this.reset();
  }

  holds(x, y) { return x >= this.left && x <= this.right && y >= this.top && y <= this.bottom; }

  reset() { this.show({ left: this.left, right: this.right, top: this.top, bottom: this.bottom }); }

  // Show only what lies in a window, given in the figure's own places.
  show(window) {
    this.window = window;
    const isWhole = window.left === this.left && window.right === this.right && window.top === this.top && window.bottom === this.bottom;
    const x = (place) => this.left + (place - window.left) / (window.right - window.left) * (this.right - this.left);
    const y = (place) => this.top + (place - window.top) / (window.bottom - window.top) * (this.bottom - this.top);
    for (const { element, d } of this.paths)
      element.setAttribute("d", d.map(([letter, ...numbers]) => letter + numbers.map((n, i) => (i % 2 ? y : x)(n).toFixed(3)).join(" ")).join(" "));
    for (const mark of this.marks) {
      mark.element.setAttribute("x", x(mark.x));
      mark.element.setAttribute("y", y(mark.y));
    }
    for (const text of this.texts) {
      const dx = !this.ys && Math.abs(text.x - this.left) < 2 ? 0 : x(text.x) - text.x;
      const dy = y(text.y) - text.y;
      text.element.setAttribute("transform", `translate(${dx} ${dy})`);
      text.element.style.display = this.holds(text.x + dx, text.y + dy) ? "" : "none";
    }
    for (const tick of this.ticks) tick.style.display = isWhole || (!this.ys && /ytick/.test(tick.id)) ? "" : "none";
    this.own.replaceChildren();
    if (isWhole) return;
    const low = this.xs.value(window.left), high = this.xs.value(window.right);
    for (const value of rounds(low, high, this.x.log)) {
      const place = x(this.xs.place(value));
      make("line", { class: "grid", x1: place, x2: place, y1: this.top, y2: this.bottom }, this.own);
      make("text", { class: "tick", x: place, y: this.bottom + 13, "text-anchor": "middle" }, this.own).textContent = shown(value);
    }
    if (!this.ys) return;
    for (const value of rounds(this.ys.value(window.bottom), this.ys.value(window.top), this.y.log)) {
      const place = y(this.ys.place(value));
      make("line", { class: "grid", x1: this.left, x2: this.right, y1: place, y2: place }, this.own);
      make("text", { class: "tick", x: this.left - 5, y: place + 3.5, "text-anchor": "end" }, this.own).textContent = shown(value);
    }
  }

  // Zoom by a factor about a place of the page as it is seen now.
  zoom(factor, at) {
    const { left, right, top, bottom } = this.window;
    const middle = at ? this.unseen(at) : { x: (left + right) / 2, y: (top + bottom) / 2 };
    const cut = (low, high, place, least, most) => [Math.max(place - (place - low) / factor, least), Math.min(place + (high - place) / factor, most)];
    const [newLeft, newRight] = cut(left, right, middle.x, this.left, this.right);
    const [newTop, newBottom] = this.ys ? cut(top, bottom, middle.y, this.top, this.bottom) : [top, bottom];
    if (newRight - newLeft > 1e-3 && newBottom - newTop > 1e-3) this.show({ left: newLeft, right: newRight, top: newTop, bottom: newBottom });
  }

  // From a place that is seen to the figure's own.
  unseen({ x, y }) {
    const { left, right, top, bottom } = this.window;
    return {
      x: left + (x - this.left) / (this.right - this.left) * (right - left),
      y: top + (y - this.top) / (this.bottom - this.top) * (bottom - top),
    };
  }

  select(from, to) {
    const [a, b] = [this.unseen(from), this.unseen(to)];
    const isBand = !this.ys || Math.abs(to.y - from.y) < 8;
    this.show({
      left: Math.max(Math.min(a.x, b.x), this.left), right: Math.min(Math.max(a.x, b.x), this.right),
      top: isBand ? this.window.top : Math.max(Math.min(a.y, b.y), this.top),
      bottom: isBand ? this.window.bottom : Math.min(Math.max(a.y, b.y), this.bottom),
    });
  }

  // What of the runs is nearest to a place, if near enough.
  nearest(at) {
    let best = null, least = NEAR * NEAR;
    const look = (owner, x, y) => {
      const distance = (x - at.x) ** 2 + (y - at.y) ** 2;
      if (distance < least && this.holds(x, y)) [least, best] = [distance, { run: Number(owner.dataset.run), x, y }];
    };
    for (const { element } of this.paths) {
      const owner = element.closest("[data-run]");
      if (!owner || owner.style.display === "none" || owner.id.endsWith("-band")) continue;
      let before = null;
      for (const [letter, ...numbers] of points(element)) {
        const point = numbers.slice(-2);
        if (before && letter !== "M" && point.length === 2) look(owner, ...closest(before, point, at));
        before = point.length === 2 ? point : null;
      }
    }
    for (const { element } of this.marks) {
      const owner = element.closest("[data-run]");
      if (owner && owner.style.display !== "none") look(owner, Number(element.getAttribute("x")), Number(element.getAttribute("y")));
    }
    return best;
  }

  say(place) {
    const own = this.unseen(place);
    const lines = [`${this.x.label}: ${shown(this.xs.value(own.x))}`];
    if (this.ys) lines.push(`${this.y.label}: ${shown(this.ys.value(own.y))}`);
    return lines.join("\n");
  }
}

// A path's commands with their numbers; matplotlib writes absolute ones only.
function points(path) {
  return [...path.getAttribute("d").matchAll(/([MLQCZz])([^MLQCZz]*)/g)].map(([, letter, rest]) => [letter, ...(rest.match(/-?[\d.]+(?:e-?\d+)?/g) || []).map(Number)]);
}

function closest([x1, y1], [x2, y2], at) {
  const length = (x2 - x1) ** 2 + (y2 - y1) ** 2;
  const share = length ? Math.min(Math.max(((at.x - x1) * (x2 - x1) + (at.y - y1) * (y2 - y1)) / length, 0), 1) : 0;
  return [x1 + share * (x2 - x1), y1 + share * (y2 - y1)];
}

function enliven(figure) {
  const svg = figure.querySelector("svg");
  const panels = JSON.parse(figure.dataset.panels).map((about) => new Panel(svg, about));
  const tools = document.createElement("div");
  tools.className = "tools";
  for (const [label, act] of [["Zoom in", (p) => p.zoom(1.6)], ["Zoom out", (p) => p.zoom(1 / 1.6)], ["Reset", (p) => p.reset()]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.addEventListener("click", () => panels.forEach(act));
    tools.append(button);
  }
  tools.append("Drag to zoom into a part, double-click to go back; point at a line, a bar or a dot for its values.");
  figure.querySelector("figcaption").after(tools);

  const place = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  const panelAt = (at) => panels.find((panel) => panel.holds(at.x, at.y));
  let drag = null, ring = null;

  svg.addEventListener("pointerdown", (event) => {
    if (event.button || event.pointerType === "touch") return;
    const at = place(event), panel = panelAt(at);
    if (!panel) return;
    drag = { panel, at, box: make("rect", { class: "chosen" }, svg) };
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    const at = place(event);
    ring?.remove();
    if (drag) {
      const { panel, at: from, box } = drag;
      const isBand = !panel.ys || Math.abs(at.y - from.y) < 8;
      const x = Math.max(Math.min(from.x, at.x), panel.left), right = Math.min(Math.max(from.x, at.x), panel.right);
      const y = isBand ? panel.top : Math.max(Math.min(from.y, at.y), panel.top);
      const bottom = isBand ? panel.bottom : Math.min(Math.max(from.y, at.y), panel.bottom);
      for (const [name, value] of Object.entries({ x, y, width: right - x, height: bottom - y })) box.setAttribute(name, Math.max(value, 0));
      tip.hidden = true;
      return;
    }
    const panel = panelAt(at);
    tip.hidden = !panel;
    if (!panel) return;
    const part = event.target.closest("[data-component]");
    const component = part ? part.dataset.component.replaceAll("_", " ") : "";
    const bar = part && panel.paths.find(({ element }) => part.contains(element));
    if (bar) {
      const ends = bar.d.filter((command) => command.length > 1).map((command) => panel.xs.value(command.at(-2)));
      tip.textContent = `${component}\n${shown(Math.max(...ends) - Math.min(...ends))} ms`;
    } else {
      const near = panel.nearest(at), what = near ? names[near.run] : component;
      tip.textContent = (what && `${what}\n`) + panel.say(near || at);
      if (near) ring = make("circle", { class: "pointed", cx: near.x, cy: near.y, r: 4 }, svg);
    }
    const { offsetWidth: width, offsetHeight: height } = tip;
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - width - 8)}px`;
    tip.style.top = `${event.clientY + 18 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 18}px`;
  });
  const drop = (event, isDone) => {
    if (!drag) return;
    const { panel, at: from, box } = drag, at = place(event);
    box.remove();
    drag = null;
    if (isDone && Math.abs(at.x - from.x) > 6) panel.select(from, at);
  };
  svg.addEventListener("pointerup", (event) => drop(event, true));
  svg.addEventListener("pointercancel", (event) => drop(event, false));
  svg.addEventListener("pointerleave", () => { ring?.remove(); tip.hidden = true; });
  svg.addEventListener("dblclick", (event) => panelAt(place(event))?.reset());
  svg.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // the page scrolls as ever
    event.preventDefault();
    const at = place(event);
    panelAt(at)?.zoom(Math.exp(-event.deltaY / 300), at);
  }, { passive: false });
}

// A click on a run's name hides and shows what is drawn of it.
function choosable(entry) {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-pressed", "true");
  button.title = "show or hide in the pictures";
  button.append(...entry.childNodes);
  entry.append(button);
  button.addEventListener("click", () => {
    const isShown = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(isShown));
    for (const drawn of document.querySelectorAll(`[data-run="${entry.dataset.legend}"]`)) drawn.style.display = isShown ? "" : "none";
  });
}

document.querySelectorAll("figure[data-panels]").forEach(enliven);
document.querySelectorAll("[data-legend]").forEach(choosable);
