// What is on the paper, and how it is drawn. Points are on a board of 1600 by 1600, whatever the size of the canvas.

export const WIDTH = 1600;
export const HEIGHT = 1600;

export class Board {
  strokes = new Map(); // id: stroke, in order
  sketches = new Map(); // who: the stroke that is being drawn
  colours = {}; // of the style sheet, for this scheme

  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    new ResizeObserver(() => this.resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.colours = {};
      this.draw();
    });
  }

  resize() {
    const { width, height } = this.canvas.getBoundingClientRect();
    this.canvas.width = width * devicePixelRatio;
    this.canvas.height = height * devicePixelRatio;
    this.draw();
  }

  // Once for each frame, however much has changed.
  draw() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = undefined;
      const { context, canvas } = this;
      context.setTransform(canvas.width / WIDTH, 0, 0, canvas.height / HEIGHT, 0, 0);
      context.clearRect(0, 0, WIDTH, HEIGHT);
      context.lineCap = context.lineJoin = "round";
      for (const stroke of this.strokes.values()) this.line(stroke);
      for (const stroke of this.sketches.values()) this.line(stroke);
    });
  }

  line({ colour, width, points }) {
    const { context } = this;
    context.strokeStyle = this.colours[colour] ??= this.colour(colour);
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(...points[0]);
    for (let at = 1; at < points.length - 1; at++) {
      const [x, y] = points[at];
      const [nextX, nextY] = points[at + 1];
      context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
    }
    const [x, y] = points.at(-1);
    context.lineTo(x + 0.1, y); // not nothing, so that a single point is a dot
    context.stroke();
  }

  colour(name) {
    this.canvas.style.color = `var(--${name})`;
    return getComputedStyle(this.canvas).color;
  }

  // Where on the board something happened.
  point(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const x = Math.round(((event.clientX - left) * WIDTH) / width);
    const y = Math.round(((event.clientY - top) * HEIGHT) / height);
    return [x, y];
  }
}
