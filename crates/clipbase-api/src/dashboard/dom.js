// Small words for the page. Text is always set as text.

export function show(name) {
  const main = document.getElementById("main");
  main.replaceChildren(document.getElementById(name).content.cloneNode(true));
  return (id) => main.querySelector(`#${id}`);
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(attribute, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

// A time in a video: 0:04, 12:30.25, 1:02:03.
export function clock(seconds) {
  const millis = Math.round(seconds * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const rest = millis % 1000 ? `.${String(millis % 1000).padStart(3, "0").replace(/0+$/, "")}` : "";
  const [hours, minutes] = [Math.floor(millis / 3600000), Math.floor(millis / 60000) % 60];
  const before = hours ? `${hours}:${two(minutes)}` : minutes;
  return `${before}:${two(Math.floor(millis / 1000) % 60)}${rest}`;
}

export function when(text) {
  const time = new Date(text);
  const isToday = time.toDateString() === new Date().toDateString();
  const shown = isToday ? time.toLocaleTimeString() : time.toLocaleString();
  return element("time", { datetime: text, title: time.toLocaleString() }, shown);
}

export function age(from, to) {
  const seconds = Math.max(0, Math.round((new Date(to) - new Date(from)) / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export function problem(place, error) {
  place.hidden = !error;
  place.textContent = error ? (error.code ? `${error.message} [${error.code}]` : error.message) : "";
}

export function connection(text) {
  const place = document.getElementById("connection");
  if (place.textContent !== text) place.textContent = text;
}
