// Reading from the server that this page came from.

export class Refused extends Error {}

export async function read(path, query = {}, signal = null) {
  const wanted = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one !== null && one !== undefined && one !== "") wanted.append(name, one);
  }
  let answer;
  try {
    answer = await fetch(`/api/${path}?${wanted}`, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server does not answer. Start `thor dashboard` again; this page goes on by itself.");
  }
  if (answer.ok) return answer.json();
  const text = await answer.text();
  let message = text;
  try {
    const tree = JSON.parse(text);
    message = tree.error ?? tree.detail?.map((one) => `${one.loc.at(-1)}: ${one.msg}`).join("; ") ?? text;
  } catch { /* The reply is plain text, which is the message. */ }
  throw new Refused(message);
}
