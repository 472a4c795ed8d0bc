// A JVM with several threads clones itself through the C API: in the master and in every clone all of them must go on.
// Prints a line per domain: its vmid and what each thread has done there. See test_jvm.py.
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;

public final class Testee {
  // In gridcentric.c; each throws an Error with the library's text.
  private static native String requestTicket(int clones);
  private static native int cloneFamily(String ticket);
  private static native String address();
  private static native void join(String report);
  private static native String waitForAll(String ticket);

  private static final String[] WORK = {"counts", "locks", "monitors", "allocates", "sleeps", "scheduled"};
  private static final AtomicLongArray done = new AtomicLongArray(WORK.length);
  private static final ReentrantLock lock = new ReentrantLock();
  private static final Object monitor = new Object();
  private static volatile Object garbage;

  private static void start(int index, Runnable work) {
    final Thread thread = new Thread(() -> {
      for (;;) {
        work.run();
        done.incrementAndGet(index);
      }
    }, WORK[index]);
    thread.setDaemon(true);
    thread.start();
  }

  /** Waits until every thread has done more than at the time of the call. */
  private static void untilAllWorked() {
    for (int i = 0; i < WORK.length; ++i) {
      final long before = done.get(i);
      while (done.get(i) == before) {
        lock.lock();
        lock.unlock();
        synchronized (monitor) {
          monitor.notifyAll();
        }
        Thread.yield();
      }
    }
  }

  public static void main(String[] arguments) throws Exception {
    System.load(arguments[0]);
    final int clones = Integer.parseInt(arguments[1]);
    start(0, Thread::yield);
    start(1, () -> {
      lock.lock();
      try {
        Thread.yield();
      } finally {
        lock.unlock();
      }
    });
    start(2, () -> {
      synchronized (monitor) {
        try {
          monitor.wait();
        } catch (InterruptedException e) {
          throw new IllegalStateException(e);
        }
      }
    });
    start(3, () -> garbage = new byte[1 << 16]);
    start(4, () -> LockSupport.parkNanos(100_000));
    final ScheduledExecutorService timers = Executors.newScheduledThreadPool(1, (work) -> {
      final Thread thread = new Thread(work, WORK[5]);
      thread.setDaemon(true);
      return thread;
    });
    timers.scheduleAtFixedRate(() -> done.incrementAndGet(5), 0, 1, TimeUnit.MILLISECONDS);
    untilAllWorked();

    final String ticket = requestTicket(clones);
    final int vmid = cloneFamily(ticket);
    untilAllWorked();
    System.gc(); // needs every thread at a safepoint
    final int[] sum = {0};
    final Thread later = new Thread(() -> sum[0] = vmid + 40); // new threads can be made
    later.start();
    later.join();
    untilAllWorked();
    final String line = "vmid " + vmid + " at " + address() + ": " + String.join(" ", WORK) + " " + sum[0];
    if (vmid > 0) join(line);
    System.out.print(line + "\n" + waitForAll(ticket));
  }
}
