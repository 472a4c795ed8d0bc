package ca.gridcentric.guest;

/**
 * The parent of all errors of gridcentric. There is one class for each error, with the same {@link #code() code} in every language.
 * All are unchecked.
 */
public abstract class GridcentricException extends RuntimeException {
    private static final long serialVersionUID = 1L;
    /** The name that this error has in all languages. */
    private final String code;

    GridcentricException(String code, String message) {
        super(message);
        this.code = code;
    }

    /**
     * The name that this error has in all languages and on the wire.
     *
     * @return for example {@code "timed_out"}
     */
    public final String code() {
        return code;
    }
}
