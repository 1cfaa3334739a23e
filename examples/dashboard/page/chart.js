// A line in an SVG, with its highest and lowest value: no library.

const NS = "http://www.w3.org/2000/svg";
const WIDTH = 320;
const HEIGHT = 100;
const PAD = 10;

export class Chart {
  constructor(svg, length) {
    this.length = length;
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg = svg;
    this.area = this.add("path", "area");
    this.line = this.add("path", "line");
    this.dot = this.add("circle", "dot");
    this.dot.setAttribute("r", 4);
    this.top = this.add("text", "scale");
    this.bottom = this.add("text", "scale");
    this.name = svg.getAttribute("aria-label");
  }

  add(kind, name) {
    const node = this.svg.appendChild(document.createElementNS(NS, kind));
    node.setAttribute("class", name);
    return node;
  }

  draw(values) {
    if (!values.length) return;
    const low = Math.floor(Math.min(...values) - 0.5);
    const high = Math.ceil(Math.max(...values) + 0.5);
    const x = (at) => WIDTH - PAD - ((values.length - 1 - at) * (WIDTH - 2 * PAD)) / (this.length - 1);
    const y = (value) => PAD + ((high - value) * (HEIGHT - 2 * PAD)) / (high - low);
    const points = values.map((value, at) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
    this.line.setAttribute("d", `M${points.join("L")}`);
    this.area.setAttribute("d", `M${points.join("L")}V${HEIGHT}H${x(0).toFixed(1)}Z`);
    this.dot.setAttribute("cx", x(values.length - 1));
    this.dot.setAttribute("cy", y(values.at(-1)));
    this.label(this.top, high, PAD + 4);
    this.label(this.bottom, low, HEIGHT - PAD + 4);
    this.svg.setAttribute("aria-label", `${this.name}: from ${Math.min(...values)} to ${Math.max(...values)}`);
  }

  label(node, value, y) {
    node.textContent = value;
    node.setAttribute("x", 2);
    node.setAttribute("y", y);
  }
}
