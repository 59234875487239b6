// The collector's HTTP API. Tenant and token are kept for this browser session only.

/** An answer that is not 200; `status` is the HTTP status. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function headers() {
  const found = {};
  const tenant = sessionStorage.getItem("tenant");
  const token = sessionStorage.getItem("token");
  if (tenant) found["X-Scope-OrgID"] = tenant;
  if (token) found["Authorization"] = `Bearer ${token}`;
  return found;
}

/** GET path with parameters (empty ones are left out) and parse the JSON. */
export async function get(path, parameters = {}, signal = undefined) {
  return (await answer(path, parameters, signal)).value;
}

async function answer(path, parameters, signal) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const url = query.size ? `${path}?${query}` : path;
  let reply;
  try {
    reply = await fetch(url, { headers: headers(), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The collector does not answer.");
  }
  const text = await reply.text();
  if (!reply.ok) throw new ApiError(reply.status, reason(text) || `The collector answered ${reply.status}.`);
  return { value: JSON.parse(text), headers: reply.headers };
}

function reason(text) {
  try {
    return JSON.parse(text).error ?? text;
  } catch {
    return text.slice(0, 500);
  }
}

export const services = () => get("/api/v2/services");
export const spanNames = (serviceName) => get("/api/v2/spans", { serviceName });
export const remoteServices = (serviceName) => get("/api/v2/remoteServices", { serviceName });

/** {found, next}: traces, and the cursor that leads to more of them, null where there are none. */
export async function traces(parameters, signal) {
  const { value, headers: told } = await answer("/api/v2/traces", parameters, signal);
  return { found: value, next: told.get("X-Lookout-Next-Cursor") };
}

export const trace = (id, signal) => get(`/api/v2/trace/${encodeURIComponent(id)}`, {}, signal);

/**
 * {links, linked}: calls, and where they are not of all that was asked for what they are of: from
 * `since` to `until` (Unix ms), with traces followed over its beginning for `crossing` ms. Else null.
 */
export async function dependencies(endTs, lookback) {
  const { value, headers: told } = await answer("/api/v2/dependencies", { endTs, lookback });
  const linked = /^(\d+)-(\d+)(?:; crossing=(\d+))?/.exec(told.get("X-Lookout-Linked") ?? "");
  if (!linked) return { links: value, linked: null };
  const [since, until, crossing] = linked.slice(1).map((number) => number && Number(number));
  return { links: value, linked: { since, until, crossing } };
}

export const queryRange = (query, start, end, step, signal) =>
  get("/api/v1/query_range", { query, start, end, step }, signal);
export const metricNames = () => get("/api/v1/label/__name__/values");
