// One bar a minute under a scale that ends at a round number. A title on each bar tells its number to whoever points
// at it; who cannot see the bars is told what they amount to.

const NAMES = "http://www.w3.org/2000/svg";

// The least of 1, 2, 5, 10, 20, 50 … that is not below the number.
export function round(number) {
  let power = 1;
  while (power * 10 < number) power *= 10;
  return [1, 2, 5, 10].map((factor) => factor * power).find((top) => top >= number);
}

const clock = (text) => new Date(text).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

export function chart(figure, minutes, outcome) {
  const counts = minutes.map((minute) => minute[outcome]);
  const total = counts.reduce((sum, count) => sum + count, 0);
  const most = Math.max(0, ...counts);
  const top = round(Math.max(1, most));
  const sure = minutes.some((minute) => minute.is_at_least) ? "≥ " : "";
  figure.querySelector("output").textContent = `${sure}${total.toLocaleString()}`;
  figure.querySelector(".top").textContent = `${top.toLocaleString()} a minute`;
  figure.querySelector(".from").textContent = `${minutes.length} min ago`;
  const svg = figure.querySelector("svg");
  const least = sure ? "at least " : "";
  svg.setAttribute("aria-label", total === 0
    ? `No job ${outcome} in the last ${minutes.length} minutes`
    : `Jobs ${outcome} in the last ${minutes.length} minutes: ${least}${total}, ${most} in the busiest one, `
      + `at ${clock(minutes[counts.indexOf(most)].at)}`);
  svg.setAttribute("viewBox", `0 0 ${minutes.length * 10} 100`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.replaceChildren(...minutes.map((minute, index) => bar(minute, index, minute[outcome], top)));
}

function bar(minute, index, count, top) {
  const height = count === 0 ? 0 : Math.max(3, (count / top) * 100);
  const group = document.createElementNS(NAMES, "g");
  const title = document.createElementNS(NAMES, "title");
  title.textContent = `${clock(minute.at)}: ${minute.is_at_least ? "at least " : ""}${count}`;
  // The whole height answers to the pointer, however short the bar is.
  const room = rect({ x: index * 10, y: 0, width: 10, height: 100, class: "room" });
  group.append(title, room, rect({ x: index * 10 + 1.5, y: 100 - height, width: 7, height }));
  return group;
}

function rect(shape) {
  const made = document.createElementNS(NAMES, "rect");
  for (const [name, value] of Object.entries(shape)) made.setAttribute(name, value);
  return made;
}
