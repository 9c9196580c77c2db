// Elements of the page and of drawings. Text is always set as text, never parsed as HTML.

function put(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function html(tag, attributes = {}, ...children) {
  return put(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return put(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

// A drawing that says what it shows to those who can't see it.
function drawing(width, height, title, ...children) {
  const attributes = {
    viewBox: `0 0 ${width} ${height}`,
    width,
    height,
    role: "img",
    "aria-label": title,
  };
  return svg("svg", attributes, svg("title", {}, title), ...children);
}

// Draws into a box, and again when its width changes.
function plot(draw, minimum = 200) {
  const box = html("div", { class: "plot" });
  let drawn = 0;
  const redraw = () => {
    const width = Math.max(minimum, Math.floor(box.clientWidth));
    if (box.clientWidth > 0 && width !== drawn) {
      drawn = width;
      box.replaceChildren(...[draw(width)].flat());
    }
  };
  new ResizeObserver(redraw).observe(box);
  return box;
}

let controls = 0;

// A labelled list to choose from; options are [value, text].
function chooser(label, options, value, change) {
  const id = `choice-${(controls += 1)}`;
  const list = html(
    "select",
    { id },
    ...options.map(([key, text]) => html("option", { value: key, selected: key === value }, text)),
  );
  list.addEventListener("change", () => change(list.value));
  return html("div", { class: "choice" }, html("label", { for: id }, label), list);
}

// A row of buttons of which one is pressed.
function switcher(label, options, value, change) {
  const name = `switch-${(controls += 1)}`;
  const buttons = options.map(([key, text]) => {
    const input = html("input", { type: "radio", name, value: key, checked: key === value });
    input.addEventListener("change", () => change(key));
    return html("label", {}, input, html("span", {}, text));
  });
  return html(
    "fieldset",
    { class: "switch" },
    html("legend", {}, label),
    html("div", { class: "buttons" }, ...buttons),
  );
}
