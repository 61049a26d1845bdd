/** How busy this thread is, as its event loop counts: what is not spent waiting for something to do. */

/** Milliseconds since the loop began, fractional. A thread that is ready and gets no processor counts as busy. */
export function loopBusyMs(): number {
  return performance.eventLoopUtilization().active;
}
