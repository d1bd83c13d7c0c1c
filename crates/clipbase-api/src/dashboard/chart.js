// One bar a minute. A title on each tells its number to whoever points at it.

const NAMES = "http://www.w3.org/2000/svg";

export function bars(svg, minutes, outcome) {
  const most = Math.max(1, ...minutes.map((minute) => minute[outcome]));
  svg.setAttribute("viewBox", `0 0 ${minutes.length * 10} 100`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.replaceChildren(...minutes.map((minute, index) => {
    const count = minute[outcome];
    const height = count === 0 ? 1 : Math.max(4, (count / most) * 100);
    const bar = document.createElementNS(NAMES, "rect");
    const shape = { x: index * 10 + 1, y: 100 - height, width: 8, height, opacity: count === 0 ? 0.3 : 1 };
    for (const [name, value] of Object.entries(shape)) bar.setAttribute(name, value);
    const title = document.createElementNS(NAMES, "title");
    const time = new Date(minute.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    title.textContent = `${time}: ${minute.is_at_least ? "at least " : ""}${count}`;
    bar.append(title);
    return bar;
  }));
}
