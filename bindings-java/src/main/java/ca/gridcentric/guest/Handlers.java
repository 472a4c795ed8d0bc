package ca.gridcentric.guest;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.IntConsumer;

/** The program's handlers around a clone, and what the native code runs of them. It must not know how a clone is made. */
final class Handlers {
    private static final List<Runnable> BEFORE = new CopyOnWriteArrayList<>();
    private static final List<IntConsumer> IN_CLONE = new CopyOnWriteArrayList<>();
    private static final ThreadLocal<Throwable> REFUSAL = new ThreadLocal<>();

    private Handlers() {}

    static synchronized void addBefore(Runnable handler) {
        if (handler == null) throw new InvalidArgumentException("handler is null, expected a Runnable");
        if (BEFORE.isEmpty()) Native.runHandlersBefore();
        BEFORE.add(handler);
    }

    static void addInClone(IntConsumer handler) {
        if (handler == null) throw new InvalidArgumentException("handler is null, expected an IntConsumer, which is given the vmid");
        IN_CLONE.add(handler);
    }

    /** Whether no handler has thrown; {@link #clone} has what it threw. */
    static boolean runBefore() {
        try {
            for (Runnable handler : BEFORE) handler.run();
            return true;
        } catch (Throwable thrown) {
            REFUSAL.set(thrown);
            return false;
        }
    }

    /** A clone, out of which comes what a handler has thrown. */
    static int clone(long call, String ticket) {
        try {
            return Native.clone(call, ticket);
        } catch (CloneFailedException failed) {
            Throwable refusal = REFUSAL.get();
            REFUSAL.remove();
            if (refusal instanceof Error error) throw error;
            if (refusal instanceof RuntimeException exception) throw exception;
            if (refusal != null) failed.initCause(refusal);
            throw failed;
        }
    }

    /** What is buffered would be written once in each clone. */
    static void flush() {
        System.out.flush();
        System.err.flush();
    }

    static void runInClone(int vmid) {
        for (IntConsumer handler : IN_CLONE) {
            try {
                handler.accept(vmid);
            } catch (Throwable thrown) {
                Thread here = Thread.currentThread();
                here.getUncaughtExceptionHandler().uncaughtException(here, thrown);
            }
        }
    }
}
