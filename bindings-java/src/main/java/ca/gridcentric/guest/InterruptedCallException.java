package ca.gridcentric.guest;

/**
 * The thread was interrupted ({@link Thread#interrupt()}) while it waited in a call, or before. The call has had no effect, and the
 * thread's interrupted status is still set. It is unchecked, because programs of 2010 do not declare
 * {@link InterruptedException}. Its {@link #code() code} is {@code cancelled}.
 */
public final class InterruptedCallException extends GridcentricException {
    private static final long serialVersionUID = 1L;

    InterruptedCallException(String message) {
        super("cancelled", message);
    }
}
