// From the raw spans of one trace to a tree: partial and shared spans joined, clocks corrected.
// The rules are those people know from the Zipkin UI: a server span that shares its client's id
// stands beneath it, and a server whose clock disagrees with its caller's is moved inside the call.

/** The service of a span, "unknown" where it names none. */
export const serviceOf = (span) => span.localEndpoint?.serviceName ?? "unknown";

/** Is this span marked failed (tag "error" of any value)? */
export const failed = (span) => span.tags !== undefined && "error" in span.tags;

/** The facts of one search result row; `longest` is its longest span of the service asked for, or of all. */
export function summarise(spans, asked) {
  const rows = traceTree(spans);
  const root = rows[0].span;
  const { start, length } = extent(rows);
  const services = new Map();
  for (const span of spans) services.set(serviceOf(span), (services.get(serviceOf(span)) ?? 0) + 1);
  return {
    id: spans[0].traceId, service: serviceOf(root), name: root.name ?? "unknown", spans: spans.length,
    timestamp: start, duration: length, longest: longestSpan(spans, asked),
    errors: spans.filter(failed).length,
    services: [...services].sort((a, b) => b[1] - a[1]),
  };
}

// What the collector orders by.
function longestSpan(spans, asked) {
  const of = asked?.toLowerCase();
  return spans.reduce((most, span) => (of && serviceOf(span) !== of ? most : Math.max(most, span.duration ?? 0)), 0);
}

/** First start and, from there to the last end, length of a trace's rows, in microseconds. */
export function extent(rows) {
  const timed = rows.filter((row) => row.start);
  if (!timed.length) return { start: 0, length: rows.reduce((most, row) => Math.max(most, row.length), 0) };
  const start = timed.reduce((least, row) => Math.min(least, row.start), Infinity);
  const end = timed.reduce((most, row) => Math.max(most, row.start + row.length), 0);
  return { start, length: end - start };
}

/** Rows in drawing order: {span, depth, children, start, end} with times in microseconds. */
export function traceTree(spans) {
  const nodes = link(joinParts(spans));
  for (const root of nodes) correctSkew(root, 0);
  const rows = [];
  flatten(nodes, rows);
  return rows;
}

function joinParts(spans) {
  const parts = new Map();
  for (const span of spans) {
    const key = `${span.id}/${span.shared ? `shared/${serviceOf(span)}` : span.kind === "SERVER" ? "server" : ""}`;
    const known = parts.get(key);
    parts.set(key, known && serviceOf(known) === serviceOf(span) ? joined(known, span) : span);
    if (known && serviceOf(known) !== serviceOf(span)) parts.set(`${key}/${parts.size}`, known);
  }
  return [...parts.values()];
}

function joined(one, other) {
  const seen = new Set();
  const annotations = [...(one.annotations ?? []), ...(other.annotations ?? [])].filter((note) => {
    const key = `${note.timestamp} ${note.value}`;
    return seen.has(key) ? false : seen.add(key);
  });
  return { ...other, ...one, tags: { ...other.tags, ...one.tags }, annotations };
}

function link(spans) {
  const nodes = spans.map((span) => ({ span, children: [], depth: 0, start: span.timestamp, length: span.duration ?? 0 }));
  const byId = new Map();
  const serverHalf = new Map();
  for (const node of nodes) {
    const twin = byId.get(node.span.id);
    const isServer = node.span.shared || (twin && node.span.kind === "SERVER");
    if (isServer) serverHalf.set(node.span.id, node);
    if (!twin || !isServer) byId.set(node.span.id, node);
    if (twin && twin !== node && !isServer) serverHalf.set(node.span.id, twin);
  }
  const roots = [];
  for (const node of nodes) {
    const parent = parentOf(node, byId, serverHalf);
    if (parent) parent.children.push(node);
    else roots.push(node);
  }
  return settle(roots, nodes);
}

function parentOf(node, byId, serverHalf) {
  const { id, parentId } = node.span;
  const client = byId.get(id);
  if (serverHalf.get(id) === node && client && client !== node) return client;
  if (!parentId || parentId === id) return null;
  const half = serverHalf.get(parentId);
  if (half && (half === byId.get(parentId) || serviceOf(half.span) === serviceOf(node.span))) return half;
  return byId.get(parentId) ?? half ?? null;
}

// Spans in a ring have no root: those never reached become roots of their own, once.
function settle(roots, nodes) {
  const reached = new Set();
  const visit = (first) => {
    const stack = [first];
    while (stack.length) {
      const node = stack.pop();
      if (reached.has(node)) continue;
      reached.add(node);
      node.children = node.children.filter((child) => !reached.has(child));
      stack.push(...node.children);
    }
  };
  roots.forEach(visit);
  for (const node of nodes) {
    if (reached.has(node)) continue;
    roots.push(node);
    visit(node);
  }
  return roots;
}

const address = (span) => span.localEndpoint?.ipv4 ?? span.localEndpoint?.ipv6 ?? serviceOf(span);

// A server called by this span, on another host, must lie inside the call.
function correctSkew(root, inherited) {
  const stack = [[root, inherited]];
  while (stack.length) {
    const [node, shift] = stack.pop();
    if (node.start) node.start += shift;
    for (const child of node.children) stack.push([child, childShift(node, child, shift)]);
  }
}

function childShift(node, child, shift) {
  const called = node.span.kind === "CLIENT" && child.span.kind === "SERVER";
  if (!called || !node.start || !child.start || address(node.span) === address(child.span)) return shift;
  const start = child.start + shift;
  const fits = start >= node.start && start + child.length <= node.start + node.length;
  if (fits || !node.length || child.length > node.length) return start < node.start ? shift + node.start - start : shift;
  return shift + node.start + (node.length - child.length) / 2 - start;
}

function flatten(roots, rows) {
  const order = (a, b) => (a.start ?? 0) - (b.start ?? 0);
  const stack = [...roots].sort(order).reverse().map((node) => [node, 0]);
  while (stack.length) {
    const [node, depth] = stack.pop();
    node.depth = depth;
    node.start ??= rows.at(-1)?.start ?? 0;
    rows.push(node);
    for (const child of node.children.sort(order).toReversed()) stack.push([child, depth + 1]);
  }
}
