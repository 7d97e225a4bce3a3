/**
 * What a call fails with.
 *
 * Made from the problem document (RFC 9457) that the server answers with, or from what there is instead of one.
 */
export class PotoError extends Error {
  /**
   * @param {object} problem
   * @param {number} problem.status The HTTP status; 0 when there was no whole answer (the network, a cut stream).
   * @param {string} problem.title The status in words.
   * @param {string} [problem.detail] What happened, in a sentence or two for people.
   * @param {{field: string, message: string}[]} [problem.errors] One entry for each bad field.
   * @param {?string} [problem.requestId] Under which the server's log tells more.
   * @param {?number} retryAfterS Seconds after which to try again, where the server says so.
   */
  constructor({ status, title, detail = "", errors = [], requestId = null }, retryAfterS = null) {
    super(detail || title);
    this.name = "PotoError";
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.errors = errors;
    this.requestId = requestId;
    this.retryAfterS = retryAfterS;
  }

  /** Whether it may pass by itself, so that the same call can be made again: the network, a restart. */
  get passes() {
    return this.status === 0 || this.status === 503;
  }

  /** @param {Response} response Not a success. @returns {Promise<PotoError>} */
  static async of(response) {
    const retryAfterS = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
    let problem = {};
    try {
      problem = await response.json();
    } catch {
      // A proxy's page, or nothing: the status has to do.
    }
    const title = typeof problem.title === "string" ? problem.title : response.statusText || `Status ${response.status}`;
    return new PotoError(
      {
        ...problem,
        status: response.status,
        title,
        requestId: problem.requestId ?? response.headers.get("X-Request-ID"),
      },
      Number.isNaN(retryAfterS) ? null : retryAfterS,
    );
  }

  /** @param {string} detail @returns {PotoError} For an answer that did not come, or not whole. */
  static network(detail) {
    return new PotoError({ status: 0, title: "No connection", detail });
  }
}
