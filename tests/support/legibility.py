"""What of a page people with weak eyes, or with keys instead of a mouse, cannot use: found in the rendered page.

The numbers are those of WCAG 2.2, level AA: 1.4.3 (contrast of text), 1.4.11 (of focus marks), 2.4.7, 4.1.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from playwright.async_api import Page

Scheme = Literal["light", "dark"]
SCHEMES: Final[tuple[Scheme, ...]] = ("light", "dark")

_CONTRAST: Final = r"""
(within) => {
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const parse = (colour) => {
    if (!known.has(colour)) {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
      known.set(colour, [r, g, b, a / 255]);
    }
    return known.get(colour);
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((c, i) => c * a + under[i] * (1 - a));
  const mix = (a, b, share) => a.map((c, i) => c * share + b[i] * (1 - share));
  const luminance = (colour) => {
    const [r, g, b] = colour.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  // The colours of a text and of what is behind it: backgrounds and opacities of everything it stands in.
  const painted = (chain, text, backdrop) => {
    const style = getComputedStyle(chain[0]);
    const back = over(parse(style.backgroundColor), backdrop);
    const both = chain.length > 1 ? painted(chain.slice(1), text, back) : [over(parse(text), back), back];
    const share = Number(style.opacity);
    return share === 1 ? both : both.map((colour) => mix(colour, backdrop, share));
  };
  const canvas = matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
  const found = new Map();
  const check = (element, text, colour, style) => {
    const chain = [];
    for (let at = element; at; at = at.parentElement) chain.unshift(at);
    const [front, back] = painted(chain, colour, canvas);
    const size = parseFloat(style.fontSize);
    const wanted = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    const contrast = ratio(front, back);
    if (contrast >= wanted) return;
    const name = element.tagName.toLowerCase() + [...element.classList].map((one) => `.${one}`).join("");
    const key = `${name} ${colour}`;
    if (!found.has(key)) found.set(key, `${contrast.toFixed(2)} < ${wanted}: ${name} "${text.trim().slice(0, 30)}"`);
  };
  const seen = (element) => {
    const { width, height } = element.getBoundingClientRect();
    return width > 1 && height > 1 && element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  };
  for (const element of document.querySelectorAll(`:is(${within}), :is(${within}) *`)) {
    if (!seen(element) || element.closest(":disabled, [inert], [hidden]")) continue;
    const style = getComputedStyle(element);
    const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data).join("");
    const drawn = element.namespaceURI.endsWith("svg") ? style.fill : style.color;
    if (text.trim()) check(element, text, drawn, style);
    const written = "textarea, input:not([type=radio], [type=checkbox], [type=range], [type=file])";
    if (element.value && element.matches(written)) check(element, element.value, drawn, style);
    if (element.placeholder && !element.value) {
      check(element, element.placeholder, getComputedStyle(element, "::placeholder").color, style);
    }
    for (const part of ["::before", "::after"]) {
      const beside = getComputedStyle(element, part);
      const words = beside.content.replace(/^"|"$/g, "");
      if (/\p{L}/u.test(words) && !/^(none|normal)$/.test(words)) check(element, words, beside.color, beside);
    }
  }
  return [...found.values()];
}
"""

_NAMELESS: Final = r"""
() => [...document.querySelectorAll("input:not([type=hidden]), textarea, select, button, a[href], summary")]
  .filter((node) => node.checkVisibility({ visibilityProperty: true }) && !node.closest("[inert], [aria-hidden=true]"))
  .filter((node) => ![
    node.getAttribute("aria-label"),
    ...(node.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id)?.textContent),
    ...[...(node.labels ?? [])].map((label) => label.textContent),
    node.matches("input, textarea, select") ? "" : node.textContent,
    node.querySelector("img")?.alt,
    node.title,
  ].some((text) => text?.trim()))
  .map((node) => node.outerHTML.slice(0, 80))
"""

_STILL: Final = r"""
() => {
  const sheet = new CSSStyleSheet(); // unlike an element <style>, allowed whatever the page's policy says
  sheet.replaceSync("*, *::before, *::after { transition: none !important }");
  document.adoptedStyleSheets.push(sheet);
}
"""

_FOCUSED: Final = r"""
() => {
  const node = document.activeElement;
  if (!node || node === document.body) return null;
  const places = [node, node.nextElementSibling, node.parentElement, node.parentElement?.parentElement];
  const look = () => places.map((one) => {
    const style = one && getComputedStyle(one);
    const { outlineStyle, outlineWidth, borderColor, boxShadow, backgroundColor } = style ?? {};
    return [outlineStyle, outlineWidth, borderColor, boxShadow, backgroundColor].join();
  }).join(";");
  const focused = look();
  node.blur();
  const blurred = look();
  node.focus({ focusVisible: true });
  return { name: node.outerHTML.slice(0, 80), marked: focused !== blurred };
}
"""


async def faint_texts(page: Page, within: str = "body") -> list[str]:
    """Texts that are too faint to read: below 4.5 to 1, or 3 to 1 when they are large. ``within``: CSS selectors."""
    found: list[str] = await page.evaluate(_CONTRAST, within)
    return found


async def nameless_controls(page: Page) -> list[str]:
    """Fields, buttons and links of which a screen reader cannot say what they are."""
    found: list[str] = await page.evaluate(_NAMELESS)
    return found


async def unmarked_focus(page: Page, steps: int = 30) -> list[str]:
    """Go through the page by Tab; return what does not show that it has the focus."""
    await page.evaluate(_STILL)
    unmarked: list[str] = []
    seen: set[str] = set()
    for _ in range(steps):
        await page.keyboard.press("Tab")
        focused = await page.evaluate(_FOCUSED)
        if focused is None or focused["name"] in seen:
            break
        seen.add(focused["name"])
        if not focused["marked"]:
            unmarked.append(focused["name"])
    return unmarked
