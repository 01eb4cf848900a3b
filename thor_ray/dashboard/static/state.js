// The view's state is the address: what a link shows is what its sender saw.

export function params() {
  return new URLSearchParams(location.search);
}

export function get(name, fallback = "") {
  return params().get(name) ?? fallback;
}

export function link(view, changes = {}, keep = ["run"]) {
  const next = new URLSearchParams();
  for (const name of keep) if (get(name)) next.set(name, get(name));
  if (view) next.set("view", view);
  for (const [name, value] of Object.entries(changes)) {
    next.delete(name);
    for (const one of [value].flat()) if (one !== null && one !== undefined && one !== "") next.append(name, one);
  }
  return `/?${next}`;
}

export function go(address, { replace = false } = {}) {
  if (address === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](null, "", address);
  dispatchEvent(new Event("navigate"));
}

// Changes some of the address's parameters and keeps the others.
export function change(changes, options = {}) {
  const all = [...new Set(params().keys())].filter((name) => name !== "view");
  const kept = Object.fromEntries(all.map((name) => [name, params().getAll(name)]));
  go(link(get("view"), { ...kept, ...changes }), options);
}
