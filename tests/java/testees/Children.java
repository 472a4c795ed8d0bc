import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** The master's children stay with it: in a clone each handle says that SIGKILL ended it, and reaches nothing. */
public final class Children {
    public static void main(String[] args) throws Exception {
        Process child = new ProcessBuilder("cat").start();
        Process other = new ProcessBuilder("sleep", "1000").start();
        CompletableFuture<Process> exit = child.onExit();
        CompletableFuture<Integer> waiting = CompletableFuture.supplyAsync(() -> {
            try {
                return child.waitFor();
            } catch (InterruptedException impossible) {
                return -1;
            }
        });
        Family.clones(2, () -> {
            Family.checkEqual(waiting.get(), 137, "a thread that waited");
            Family.checkEqual(exit.get(), child, "onExit()");
            Family.checkEqual(other.waitFor(), 137, "waitFor()");
            Family.checkEqual(child.exitValue(), 137, "exitValue()");
            Family.check(!child.isAlive() && !other.isAlive(), "isAlive()");
            other.destroyForcibly();
            child.destroy();
            return "";
        });
        Family.check(child.isAlive() && other.isAlive(), "the master's children live");
        child.getOutputStream().write("hello\n".getBytes());
        child.getOutputStream().close();
        Family.checkEqual(new String(child.getInputStream().readAllBytes()), "hello\n", "what the child says to the master");
        Family.check(child.waitFor(100, TimeUnit.SECONDS), "the child's end");
        Family.checkEqual(child.exitValue(), 0, "the master's child");
        other.destroyForcibly().waitFor();
    }
}
