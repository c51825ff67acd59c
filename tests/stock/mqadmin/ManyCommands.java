import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Arrays;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/**
 * Runs commands of Apache's mqadmin one after another in one JVM: one a line of the standard input, words separated by
 * spaces, until that ends. A line {@code === done} follows each command's output.
 */
public final class ManyCommands {
    private ManyCommands() {
    }

    public static void main(String[] arguments) throws Exception {
        Thread commands = Thread.currentThread();
        Thread waker = new Thread(() -> wakeAtTheEnd(commands));
        waker.setDaemon(true);
        waker.start();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            try {
                MQAdminStartup.main0(line.split(" "), null);
            } catch (Throwable failure) {
                failure.printStackTrace(System.out);
            }
            System.out.println();
            System.out.println("=== done");
            System.out.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    /**
     * The end of a command waits, 3 s at most, for a thread that looks only so often whether it is to end: wakes it.
     */
    private static void wakeAtTheEnd(Thread commands) {
        while (true) {
            boolean ends = Arrays.stream(commands.getStackTrace()).anyMatch(frame ->
                frame.getClassName().endsWith(".ServiceThread") && frame.getMethodName().equals("shutdown"));
            if (ends) {
                Thread.getAllStackTraces().keySet().stream()
                    .filter(thread -> thread.getName().startsWith("NettyEventExecutor"))
                    .forEach(Thread::interrupt);
            }
            try {
                Thread.sleep(20);
            } catch (InterruptedException over) {
                return;
            }
        }
    }
}
