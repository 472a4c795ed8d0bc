package ca.gridcentric.guest;

import java.io.IOException;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.nio.channels.spi.AbstractInterruptibleChannel;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.LongConsumer;

/**
 * Makes calls that wait: in the calling thread, for a virtual thread in a platform thread (a virtual thread in native code would
 * hold its carrier), or for a future. {@link Thread#interrupt()} and {@link CompletableFuture#cancel(boolean)} end them at once. It must
 * not know what a call means.
 */
final class Calls {
    /** A function of {@link Native}, without its gc_call_t. */
    interface Work<T> {
        T in(long call);
    }

    private static final ExecutorService THREADS = Executors.newCachedThreadPool(task -> {
        Thread thread = new Thread(task, "gridcentric call");
        thread.setDaemon(true);
        return thread;
    });

    private static final MethodHandle IS_VIRTUAL = isVirtual();

    private Calls() {}

    static <T> T call(Work<T> work) {
        if (inVirtualThread()) return elsewhere(work);
        return new OpenCall().make(work);
    }

    /** For a function without a result. */
    static void run(LongConsumer work) {
        call(call -> {
            work.accept(call);
            return null;
        });
    }

    static <T> CompletableFuture<T> async(Work<T> work) {
        Pending<T> pending = new Pending<>();
        THREADS.execute(() -> pending.run(work));
        return pending;
    }

    private static <T> T elsewhere(Work<T> work) {
        Pending<T> pending = new Pending<>();
        THREADS.execute(() -> pending.run(work));
        boolean interrupted = false;
        try {
            while (true) {
                try {
                    return pending.get();
                } catch (InterruptedException now) {
                    interrupted = true;
                    pending.call.cancel(); // and wait for what comes of it: clones may exist already
                } catch (ExecutionException failed) {
                    if (failed.getCause() instanceof Error error) throw error;
                    throw (RuntimeException) failed.getCause();
                }
            }
        } finally {
            if (interrupted) Thread.currentThread().interrupt();
        }
    }

    // Thread.isVirtual() exists since Java 21.
    private static MethodHandle isVirtual() {
        try {
            return MethodHandles.publicLookup().findVirtual(Thread.class, "isVirtual", MethodType.methodType(boolean.class));
        } catch (ReflectiveOperationException before21) {
            return null;
        }
    }

    private static boolean inVirtualThread() {
        try {
            return IS_VIRTUAL != null && (boolean) IS_VIRTUAL.invokeExact(Thread.currentThread());
        } catch (Throwable impossible) {
            throw new AssertionError(impossible);
        }
    }

    /** A call in another thread. */
    private static final class Pending<T> extends CompletableFuture<T> {
        final OpenCall call = new OpenCall();

        void run(Work<T> work) {
            try {
                complete(call.make(work));
            } catch (Throwable failure) {
                completeExceptionally(failure);
            }
        }

        @Override
        public boolean cancel(boolean mayInterruptIfRunning) {
            boolean cancelled = super.cancel(mayInterruptIfRunning);
            if (cancelled) call.cancel();
            return cancelled;
        }

        @Override
        public <U> CompletableFuture<U> newIncompleteFuture() {
            return new CompletableFuture<>();
        }
    }

    /** A gc_call_t. As a channel the JDK tells it, between begin() and end(), of an interrupt in the moment that it comes. */
    private static final class OpenCall extends AbstractInterruptibleChannel {
        private long handle; // 0: not begun, or has ended
        private boolean cancelled;

        <T> T make(Work<T> work) {
            long mine = Native.newCall();
            synchronized (this) {
                handle = mine;
                if (cancelled) Native.cancel(mine);
            }
            boolean finished = false;
            try {
                begin();
                T result = work.in(mine);
                finished = true;
                return result;
            } finally {
                finish(finished);
            }
        }

        private void finish(boolean finished) {
            try {
                end(finished);
            } catch (IOException interrupted) {
                // The call has said so in its own way.
            } finally {
                synchronized (this) {
                    Native.freeCall(handle);
                    handle = 0;
                }
            }
        }

        synchronized void cancel() {
            cancelled = true;
            if (handle != 0) Native.cancel(handle);
        }

        @Override
        protected void implCloseChannel() {
            cancel();
        }
    }
}
